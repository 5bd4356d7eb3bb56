"""Recipe + data -> bundle.

TensorFlow is imported while the pictures are decoded: either takes seconds, and they hardly disturb each other.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from filelock import FileLock, Timeout

from toolkit import bundle as bundles
from toolkit.bundle import Bundle, DataRow, load_bundle
from toolkit.contract import Contract
from toolkit.dataset import Dataset, find_dataset, hold_out
from toolkit.errors import InputError, LockedError, ToolkitError, UsageError, missing_extra
from toolkit.feed import Batches, Decoded, Pictures, decode_all, default_cache_dir, spread
from toolkit.metrics import ConfusionMatrix, report, write_confusion_csv, write_report_csv
from toolkit.progress import SILENT, Progress
from toolkit.recipes import Recipe, load_recipe

if TYPE_CHECKING:
    from toolkit.fitting import Epoch, Fit
    from toolkit.network import Networks

CHECK_PICTURES: Final = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train; None takes the recipe's own setting.

    Attributes:
        recipe: a documented recipe's name, the path of a recipe file, or a Recipe.
        out: the bundle's folder.
        epochs, batch_size, seed: instead of the recipe's.
        image_size: (height, width) instead of the recipe's.
        resume: go on with the unfinished training of `out`.
        force: replace the bundle that is there, once the new one is finished.
        cache_dir: where decoded pictures are kept; None is the user's cache folder.
        workers: decoding threads, 0 is one per usable CPU.
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
    """

    bundle: Bundle
    history: tuple[Epoch, ...]
    kept_epoch: int
    accuracy: float
    n_left_out: int
    seconds: float


def train(data: Path, options: TrainOptions, progress: Progress = SILENT) -> TrainResult:
    """Train a recipe on the labelled pictures in `data` and leave a bundle.

    Args:
        data: a split tree (`train/` and `validation/`), or plain class folders.

    Raises:
        InputError: `data` is not what it should be, or `options.out` holds something else.
        ModelError: the recipe has mistakes or does not fit.
        LockedError: another training writes to `options.out`.
        MachineError: TensorFlow is missing, or the machine is too small.
    """
    began = time.perf_counter()
    recipe = with_options(options)
    dataset = find_dataset(data, recipe.labels)
    out = options.out
    partial = out.with_name(out.name + ".partial")
    with _locked(out):
        _check_out(out, force=options.force)
        importing = _Import("toolkit.network", "toolkit.fitting")
        decoded = decode_all(
            dataset,
            recipe.preprocess,
            options.cache_dir or default_cache_dir(),
            workers=options.workers,
            progress=progress,
        )
        _say_cache(decoded, progress)
        rows = assign(dataset, decoded, recipe, progress)
        importing.wait()
        from toolkit import fitting, network

        _prepare(partial, _settings(recipe, rows), resume=options.resume, progress=progress)
        networks = network.build(recipe, len(dataset.labels), seed=recipe.train.seed)
        pictures = Pictures(decoded)
        training, validation = _batches(dataset, rows, recipe, pictures)
        fit = fitting.fit(networks, training, validation, recipe.train, partial, progress)
        bundle = _write(partial, dataset, rows, recipe, networks, fit, replace(validation, steps=0))
        _publish(partial, out)
    return TrainResult(
        bundle=replace(bundle, path=out),
        history=fit.epochs,
        kept_epoch=int(bundle.training["kept_epoch"]),
        accuracy=float(bundle.metrics["accuracy"]),
        n_left_out=sum(row.subset == bundles.LEFT_OUT for row in rows),
        seconds=time.perf_counter() - began,
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


def _batches(dataset: Dataset, rows: list[DataRow], recipe: Recipe, pictures: Pictures) -> tuple[Batches, Batches]:
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
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.path}\0{row.label}\0{row.subset}\0".encode(errors="surrogateescape"))
    spec = recipe.preprocess
    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.sha256,
        "image_size": [spec.height, spec.width],
        "data": digest.hexdigest(),
        **{name: value for name, value in asdict(recipe.train).items() if name != "epochs"},
    }


def _prepare(partial: Path, settings: dict[str, Any], *, resume: bool, progress: Progress) -> None:
    """Make the folder for the training, or find the state of the one that is to go on."""
    place = partial / "settings.json"
    if resume and (partial / "state.npz").is_file():
        try:
            before = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        different = [name for name, value in settings.items() if before.get(name) != value]
        if different:
            raise InputError(
                f"{partial}: this training was begun with other settings: {', '.join(different)}",
                hint="give the settings it was begun with, or begin again without --resume",
            )
        progress.line(f"going on with the training in {partial}")
        return
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    place.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _write(
    folder: Path,
    dataset: Dataset,
    rows: list[DataRow],
    recipe: Recipe,
    networks: Networks,
    fit: Fit,
    validation: Batches,
) -> Bundle:
    """Write everything of the bundle into `folder`, `bundle.json` last."""
    from toolkit import fitting, network

    net = networks.network
    network.save(folder / bundles.LAST_WEIGHTS, net.save_weights)
    kept = len(fit.epochs) - 1
    if recipe.train.keep == "best":
        net.load_weights(folder / fitting.BEST_WEIGHTS)
        kept = fit.best
    network.save(folder / bundles.MODEL_KERAS, net.save)
    probabilities = network.probabilities(fitting.predict(net, validation), recipe.output)
    confusion = ConfusionMatrix(dataset.labels)
    confusion.add(validation.labels, probabilities.argmax(axis=1))
    figures = report(confusion)
    write_report_csv(figures, folder / bundles.REPORT_CSV)
    write_confusion_csv(confusion, folder / bundles.CONFUSION_CSV)
    picked = np.array(spread(range(len(validation.rows)), CHECK_PICTURES), np.int64)
    images = validation.pictures.take(validation.rows[picked])
    bundles.write_check(folder / bundles.CHECK_NPZ, images, probabilities[picked])
    bundles.write_data_csv(folder / bundles.DATA_CSV, rows)
    (folder / bundles.RECIPE_TOML).write_text(recipe.text, encoding="utf-8")
    (folder / bundles.SUMMARY_TXT).write_text(network.summary(net), encoding="utf-8")
    _write_history(folder / bundles.HISTORY_CSV, fit)
    bundle = Bundle(
        path=folder,
        contract=Contract(
            labels=dataset.labels,
            preprocess=recipe.preprocess,
            recipe=recipe.name,
            fingerprint=bundles.weights_fingerprint(net.get_weights()),
        ),
        recipe_name=recipe.name,
        output=recipe.output,
        n_parameters=net.count_params(),
        training={**asdict(recipe.train), "kept_epoch": kept + 1, "finished_epochs": len(fit.epochs)},
        data=_data_fields(dataset, rows),
        metrics={"accuracy": _accuracy(confusion), **_last_figures(fit, kept)},
        versions=_versions(),
    )
    bundles.write_bundle_json(bundle)
    return bundle


def _accuracy(confusion: ConfusionMatrix) -> float:
    return float(np.trace(confusion.counts) / confusion.counts.sum())


def _last_figures(fit: Fit, kept: int) -> dict[str, float]:
    row = fit.epochs[kept]
    return {name: getattr(row, name) for name in ("loss", "val_loss", "val_accuracy")} | {
        "train_accuracy": row.accuracy
    }


def _data_fields(dataset: Dataset, rows: list[DataRow]) -> dict[str, Any]:
    counts = Counter((row.subset, row.label) for row in rows)
    subsets = {subset: {label: counts[subset, label] for label in dataset.labels} for subset in ("train", "validation")}
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.path}\0{row.label}\0{row.subset}\0".encode(errors="surrogateescape"))
    left_out = sum(row.subset == bundles.LEFT_OUT for row in rows)
    return {"root": str(dataset.root), **subsets, "left_out": left_out, "fingerprint": digest.hexdigest()}


def _write_history(path: Path, fit: Fit) -> None:
    from toolkit.fitting import Epoch

    columns = [field.name for field in fields(Epoch)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns] for row in fit.epochs)


def _versions() -> dict[str, str]:
    found = {}
    for package in ("toolkit-images", "tensorflow", "keras", "numpy", "opencv-python-headless"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _say_cache(decoded: Decoded, progress: Progress) -> None:
    what = "reused" if decoded.reused else "written"
    progress.line(
        f"decoded pictures: {decoded.n_bytes / 1e6:,.0f} MB {what} in {decoded.path.parent} "
        "(--cache-dir chooses the place; the folder may be deleted at any time)"
    )


def _check_out(out: Path, *, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / bundles.BUNDLE_JSON).is_file():
        raise InputError(
            f"{out}: exists and is no bundle; nothing in it is touched", hint="choose another place with --out"
        )
    if not force:
        name = ""
        with suppress(ToolkitError):
            name = f" ({load_bundle(out).recipe_name})"
        raise InputError(
            f"{out}: there is a trained bundle already{name}",
            hint="--force replaces it when the new one is finished; --out chooses another place",
        )


def _publish(partial: Path, out: Path) -> None:
    """Put the finished bundle in its place."""
    for name in ("state.npz", "settings.json"):
        (partial / name).unlink(missing_ok=True)
    old = out.with_name(out.name + ".old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(out, old)
    os.replace(partial, out)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LockedError(
            f"{out}: another training writes to it", hint="wait for it to end, or choose another place with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


class _Import:
    """Imports modules in the background."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._failure: BaseException | None = None
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for name in self._names:
                importlib.import_module(name)
        except BaseException as error:
            self._failure = error

    def wait(self) -> None:
        """Until they are imported.

        Raises:
            MachineError: TensorFlow is not installed.
        """
        self._thread.join()
        if isinstance(self._failure, ModuleNotFoundError) and self._failure.name in ("tensorflow", "keras", "h5py"):
            raise missing_extra("tensorflow", "train", "training") from None
        if self._failure is not None:
            raise self._failure


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
