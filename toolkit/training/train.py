"""Recipe + data -> bundle.

TensorFlow is imported while the pictures are decoded: either takes seconds, and they hardly disturb each other.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.core.cache import default_cache_dir
from toolkit.core.errors import InputError, UsageError, missing_extra
from toolkit.core.locking import lock
from toolkit.core.progress import SILENT, Progress
from toolkit.core.tensorflow_import import BackgroundImport
from toolkit.model_files import bundle as bundles
from toolkit.model_files.bundle import Bundle, DataRow
from toolkit.model_files.history import Epoch, read_history
from toolkit.training import workspace as folder
from toolkit.training.batches import Batches, Decoded, Pictures, decode_all
from toolkit.training.dataset import Dataset, find_dataset, hold_out
from toolkit.training.recipe import Recipe, load_recipe
from toolkit.training.shape_check import check_classes, check_memory, free_memory, may_use_gpu


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train; None takes the recipe's own setting.

    Attributes:
        recipe: a documented recipe's name, the path of a recipe file, or a Recipe.
        out: the bundle's folder.
        epochs, batch_size, seed: instead of the recipe's.
        image_size: (height, width) instead of the recipe's.
        resume: go on with the unfinished training of `out`; where it is finished, nothing is done.
        force: replace the bundle that is there, once the new one is finished.
        cache_dir: where decoded pictures are kept; None is the user's cache folder.
        workers: decoding threads, 0 is one per usable CPU.
        gpus: how many GPUs to train on; None is all visible ones, 0 is the CPU.
    """

    recipe: str | Path | Recipe
    out: Path = Path("model")
    epochs: int | None = None
    batch_size: int | None = None
    image_size: tuple[int, int] | None = None
    seed: int | None = None
    resume: bool = False
    force: bool = False
    cache_dir: Path | None = None
    workers: int = 0
    gpus: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        bundle: the finished bundle.
        history: every epoch, from 1.
        kept_epoch: the epoch whose weights `model.keras` has.
        accuracy: of those weights on the whole validation part, 0..1.
        n_left_out: pictures that were not used; `data.csv` says why.
        seconds: of this run.
        trained: False where the bundle was finished before this run, which did nothing.
    """

    bundle: Bundle
    history: tuple[Epoch, ...]
    kept_epoch: int
    accuracy: float
    n_left_out: int
    seconds: float
    trained: bool = True


def train(data: Path, options: TrainOptions, progress: Progress = SILENT) -> TrainResult:
    """Train a recipe on the labelled pictures in `data` and leave a bundle.

    Args:
        data: a split tree (`train/` and `validation/`), or plain class folders.

    Raises:
        InputError: `data` is not what it should be, or `options.out` holds something else, or, with `resume`, a
            bundle or an unfinished training of other settings.
        ModelError: the recipe has mistakes or does not fit.
        LockedError: another training writes to `options.out`.
        MachineError: TensorFlow is missing, or the machine is too small.
    """
    began = time.perf_counter()
    recipe = with_options(options)
    dataset = find_dataset(data, recipe.labels)
    check_classes(recipe, len(dataset.labels))
    if options.gpus == 0 or not may_use_gpu():
        check_memory(recipe, len(dataset.labels), free_memory())
    out, partial = options.out, folder.partial_dir(options.out)
    with lock(out):
        folder.recover(out)
        finished = options.resume and not options.force and folder.is_finished(out)
        if not finished:
            folder.check_out(out, force=options.force)
            if find_spec("tensorflow") is None:
                raise missing_extra("tensorflow", "train", "training")
            importing = BackgroundImport(
                "toolkit.training.keras_model",
                "toolkit.training.fit",
                "toolkit.training.save_bundle",
                purpose="training",
            )
        cache_dir = options.cache_dir or default_cache_dir()
        decoded = decode_all(dataset, recipe.preprocess, cache_dir, workers=options.workers, progress=progress)
        _say_cache(decoded, progress)
        rows = assign(dataset, decoded, recipe, progress)
        if finished:
            bundle = _same(bundles.load_bundle(out), recipe, rows)
            return _result(bundle, read_history(out / bundles.HISTORY_CSV), began, trained=False)
        progress.start("loading TensorFlow", unit="")
        importing.wait()
        progress.finish()
        from toolkit.training import fit as fitting
        from toolkit.training import keras_model as network
        from toolkit.training import save_bundle as bundle_writer

        if folder.prepare(partial, _settings(recipe, rows), resume=options.resume, force=options.force):
            progress.line(f"going on with the training in {partial}")
        with fitting.devices(options.gpus, progress):
            networks = network.build(recipe, len(dataset.labels), seed=recipe.train.seed)
            training, validation = batches(dataset, rows, recipe, Pictures(decoded))
            fit = fitting.fit(networks, training, validation, recipe.train, partial, progress)
        whole = (training, replace(validation, steps=0))
        bundle = bundle_writer.write_bundle(partial, dataset, rows, recipe, networks, fit, whole)
        folder.publish(partial, out)
    return _result(replace(bundle, path=out), fit.epochs, began)


def _result(bundle: Bundle, history: tuple[Epoch, ...], began: float, *, trained: bool = True) -> TrainResult:
    return TrainResult(
        bundle=bundle,
        history=history,
        kept_epoch=int(bundle.training["kept_epoch"]),
        accuracy=float(bundle.metrics["accuracy"]),
        n_left_out=int(bundle.data["left_out"]),
        seconds=time.perf_counter() - began,
        trained=trained,
    )


def with_options(options: TrainOptions) -> Recipe:
    """The recipe with the options' own settings in the place of its own.

    Raises:
        RecipeError: no such recipe, or one with mistakes.
        UsageError: a setting out of range.
    """
    recipe = options.recipe if isinstance(options.recipe, Recipe) else load_recipe(options.recipe)
    given = {name: getattr(options, name) for name in ("epochs", "batch_size", "seed")}
    for name, value in given.items():
        if value is not None and value < (0 if name == "seed" else 1):
            raise UsageError(f"{name} {value}: expected a whole number from {0 if name == 'seed' else 1}")
    changed = {name: value for name, value in given.items() if value is not None}
    recipe = replace(recipe, train=replace(recipe.train, **changed))
    if options.image_size:
        height, width = options.image_size
        try:
            recipe = replace(recipe, preprocess=replace(recipe.preprocess, height=height, width=width))
        except ValueError as error:
            raise UsageError(str(error)) from None
    return recipe


def assign(dataset: Dataset, decoded: Decoded, recipe: Recipe, progress: Progress) -> list[DataRow]:
    """Which file is for what: one row per file of the data set, in its order.

    Raises:
        InputError: a class has no usable picture on one side.
    """
    if dataset.split:
        parts = [(file.subset, error) for file, error in zip(dataset.files, decoded.errors, strict=True)]
    else:
        parts = hold_out(dataset, decoded.digests, decoded.errors, recipe.train.validation, recipe.train.seed)
    labels = dataset.labels
    rows = [
        DataRow(f.path, labels[f.label], bundles.LEFT_OUT if reason else subset, reason)
        for f, (subset, reason) in zip(dataset.files, parts, strict=True)
    ]
    left_out = [row for row in rows if row.reason]
    for row in left_out[:10]:
        progress.warn(f"left out: {row.path}: {row.reason}")
    if len(left_out) > 10:
        progress.warn(f"left out: {len(left_out) - 10:,} more, listed in {bundles.DATA_CSV}")
    counts = Counter((row.label, row.subset) for row in rows)
    for label in labels:
        for subset in ("train", "validation"):
            if not counts[label, subset]:
                raise InputError(
                    f"{dataset.root}: class {label!r} has no usable picture for {subset}",
                    hint="add pictures to it, or take the class away; toolkit check says what is wrong with a folder",
                )
    return rows


def batches(dataset: Dataset, rows: list[DataRow], recipe: Recipe, pictures: Pictures) -> tuple[Batches, Batches]:
    """The training and the validation part."""
    settings = recipe.train
    labels = np.array([file.label for file in dataset.files], np.int64)
    index = {
        subset: np.flatnonzero([row.subset == subset for row in rows]).astype(np.int64)
        for subset in ("train", "validation")
    }
    # Validation in one shuffled order, so that a limited number of steps sees every class.
    index["validation"] = np.random.default_rng(settings.seed).permutation(index["validation"])
    common = {"pictures": pictures, "batch_size": settings.batch_size}
    return (
        Batches(
            rows=index["train"],
            labels=labels[index["train"]],
            steps=settings.steps_per_epoch,
            seed=settings.seed,
            **common,  # type: ignore[arg-type]
        ),
        Batches(
            rows=index["validation"],
            labels=labels[index["validation"]],
            steps=settings.validation_steps,
            **common,  # type: ignore[arg-type]
        ),
    )


def _settings(recipe: Recipe, rows: list[DataRow]) -> dict[str, Any]:
    """What a training that is to go on must have in common with the one before."""
    spec = recipe.preprocess
    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.sha256,
        "image_size": [spec.height, spec.width],
        "data": bundles.data_fingerprint(rows),
        **{name: value for name, value in asdict(recipe.train).items() if name != "epochs"},
    }


def _same(bundle: Bundle, recipe: Recipe, rows: list[DataRow]) -> Bundle:
    """The bundle, if it is what this training would give.

    Raises:
        InputError: it was trained with other settings or on other data.
    """
    spec = bundle.contract.preprocess
    settings = {
        "recipe": bundle.recipe_name,
        "recipe_sha256": hashlib.sha256((bundle.path / bundles.RECIPE_TOML).read_bytes()).hexdigest(),
        "image_size": [spec.height, spec.width],
        "data": bundle.data.get("fingerprint"),
        **bundle.training,
    }
    asked = {**_settings(recipe, rows), "epochs": recipe.train.epochs}
    if different := folder.different(settings, asked):
        raise InputError(
            f"{bundle.path}: this bundle is finished, and was trained with other settings: {', '.join(different)}",
            hint="--force trains anew and replaces it when the new one is finished; --out chooses another place",
        )
    return bundle


def _say_cache(decoded: Decoded, progress: Progress) -> None:
    what = "reused from" if decoded.reused else "written to"
    progress.line(
        f"decoded pictures: {decoded.n_bytes / 1e6:,.0f} MB {what} {decoded.path.parent} "
        "(--cache-dir; may be deleted at any time)"
    )


def image_size(text: str) -> tuple[int, int]:
    """(height, width) from `HxW` or one number for both.

    >>> image_size("96x128"), image_size("64")
    ((96, 128), (64, 64))

    Raises:
        UsageError: neither.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit()) or (width and not (width.isascii() and width.isdigit())):
        raise UsageError(f"image size {text!r}: expected height x width in pixels, such as 180x180")
    return int(height), int(width or height)
