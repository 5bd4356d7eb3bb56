"""Recipe + data -> bundle.

TensorFlow is imported while the images are decoded: either takes seconds, and they hardly disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolkit.core.errors import InputError, missing_extra
from toolkit.core.locking import lock
from toolkit.core.progress import SILENT, Progress
from toolkit.core.tensorflow_import import BackgroundImport
from toolkit.core.text import first_line
from toolkit.data.cache import default_cache_dir
from toolkit.data.unpack import unpacked
from toolkit.images.limits import Limits
from toolkit.model_files import bundle as bundles
from toolkit.model_files.bundle import Bundle, DataRow
from toolkit.model_files.history import Epoch, read_history
from toolkit.model_files.pretrained import find_lite0
from toolkit.training import workspace
from toolkit.training.data.batches import Rows
from toolkit.training.data.dataset import Dataset, LabelledSample, find_dataset
from toolkit.training.data.decode_cache import Decoded, decode_all
from toolkit.training.data.input_size import adapted
from toolkit.training.data.subsets import assign, batches, data_rows, for_so_many, say_limits
from toolkit.training.options import TrainOptions, with_options
from toolkit.training.recipes.recipe import Backbone, Recipe, RecipeError
from toolkit.training.recipes.recipe_schema import DEPTHS
from toolkit.training.recipes.shape_check import check_classes, check_memory, free_memory, may_use_gpu
from toolkit.training.state import STATE


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """A finished training.

    Attributes:
        bundle: the finished bundle.
        history: every epoch, from 1.
        kept_epoch: the epoch whose weights `model.keras` has.
        accuracy: of those weights on the whole validation subset, 0..1.
        n_left_out: images that were not used; `data.csv` says why.
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
    """Train a recipe on the labelled images in `data` and write a bundle.

    Args:
        data: a split tree (`train/` and `validation/`), plain class folders, images with a table of labels, or an
            archive of one of these, which is unpacked into the cache.

    Raises:
        InputError: `data` is not what was expected, or `options.out` holds something else, or, with `resume`, a
            bundle or an unfinished training of other settings.
        ModelError: the recipe has mistakes or does not fit.
        LockedError: another training writes to `options.out`.
        MachineError: TensorFlow or the backbone's weights are missing, or the machine is too small.
    """
    began = time.perf_counter()
    options = replace(options, out=workspace.place_of(options.out))
    recipe = with_options(options)
    cache_dir = options.cache_dir or default_cache_dir()
    dataset, recipe = fitting(unpacked(data, cache_dir, progress), recipe, options, progress)
    out, partial = options.out, workspace.partial_dir(options.out)
    with lock(out), workspace.leaving_nothing(partial):
        workspace.recover(out)
        going_on = options.resume and not options.force
        finished = going_on and workspace.is_finished(out)
        longer = workspace.longer_to(out) if going_on else 0
        if longer and not options.epochs:
            recipe = replace(recipe, train=replace(recipe.train, epochs=longer))
        importing = None
        if not finished:
            workspace.check_out(out, force=options.force or bool(longer))
            importing = _begin(recipe)
        limits = Limits.of(max_memory=options.max_memory)
        decoded = decode_all(
            dataset, recipe.preprocess, cache_dir, workers=options.workers, limits=limits, progress=progress
        )
        _say_cache(decoded, progress)
        samples = assign(dataset, decoded, recipe, progress)
        rows = data_rows(dataset, samples)
        given = {"batch_size": bool(options.batch_size), "epochs": bool(options.epochs)}
        recipe = for_so_many(recipe, samples, progress, **given)
        settings = _settings(recipe, rows) | ({"epochs": recipe.train.epochs} if longer else {})
        if finished:
            bundle = _same(bundles.load_bundle(out), recipe, rows)
            if recipe.train.epochs <= int(bundle.training["epochs"]):
                return _result(bundle, read_history(out / bundles.HISTORY_CSV), began, trained=False)
            importing = _begin(recipe)
            workspace.prepare_longer(partial, out, settings | {"epochs": recipe.train.epochs})
            progress.line(f"going on after the last epoch of {out}")
        elif workspace.prepare(partial, settings, resume=options.resume, force=options.force):
            progress.line(f"going on with the training in {partial}")
        assert importing is not None
        progress.start("loading TensorFlow", unit="")
        importing.wait()
        progress.finish()
        bundle, epochs = _train(dataset, samples, decoded, recipe, options.gpus, partial, progress)
        workspace.publish(partial, out)
    return _result(replace(bundle, path=out), epochs, began)


def fitting(root: Path, recipe: Recipe, options: TrainOptions, progress: Progress) -> tuple[Dataset, Recipe]:
    """The images, and the recipe as it suits them.

    Raises:
        InputError: no images, or the recipe cannot tell their classes apart.
        RecipeError: the images are too small for its layers.
        MachineError: a batch does not fit into memory.
    """
    dataset = find_dataset(root, recipe.labels, tables=options.labels, strict=options.strict, progress=progress)
    if options.recipe is None:
        progress.line(f"recipe {recipe.name} (none was given): {recipe.title}; others: toolkit recipe list")
    if not options.image_size:
        recipe = adapted(recipe, dataset, progress)
    check_classes(recipe, len(dataset.labels))
    if options.gpus == 0 or not may_use_gpu():
        check_memory(recipe, len(dataset.labels), free_memory())
    return dataset, recipe


def _train(
    dataset: Dataset,
    samples: list[LabelledSample],
    decoded: Decoded,
    recipe: Recipe,
    gpus: int | None,
    partial: Path,
    progress: Progress,
) -> tuple[Bundle, tuple[Epoch, ...]]:
    """Build, train and save; TensorFlow is imported by now."""
    from toolkit.training import fit as fitting
    from toolkit.training import save_bundle
    from toolkit.training.features import KerasExtractor, feature_rows
    from toolkit.training.networks import keras_model
    from toolkit.training.stages import train_stages
    from toolkit.training.tuning import features_apart

    training, validation = batches(samples, recipe, decoded.rows)
    say_limits(training, validation, recipe, progress)
    with fitting.devices(gpus, progress):
        networks = keras_model.build(recipe, len(dataset.labels), seed=recipe.train.seed, steps=training.n_steps)

        @cache
        def features() -> Rows:
            apart = features_apart(networks, recipe)
            return feature_rows(apart or KerasExtractor(networks.features), decoded, progress)

        fit = train_stages(
            networks,
            recipe,
            (training, validation),
            features,
            partial,
            progress,
        )
    whole = (training, replace(validation, steps=0))
    frozen = features() if fit.notes.get("tuned") == "none" else None
    rows = data_rows(dataset, samples)
    bundle = save_bundle.write_bundle(partial, dataset, rows, recipe, networks, fit, whole, frozen)
    return bundle, fit.epochs


def _begin(recipe: Recipe) -> BackgroundImport:
    """Begin to import TensorFlow; the weights of a backbone are looked for at once, before any image is decoded.

    Raises:
        MachineError: TensorFlow or the weights are missing, or the weights are other ones.
        RecipeError: the backbone has no such layer as is to be tuned from, or the images are too small for it.
    """
    if find_spec("tensorflow") is None:
        raise missing_extra("tensorflow", "train", "training")
    check_weights(recipe)
    # Its own allocator keeps what is free: clearing memory anew for each tensor would take a sixth of a training.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    importing = BackgroundImport("toolkit.training.stages", "toolkit.training.save_bundle", purpose="training")
    backbone = recipe.backbone
    random = not backbone or (backbone.weights == "none" and backbone.tune in DEPTHS)
    if backbone and backbone.name != "EfficientNetLite0" and not random:
        importing.wait()
        _check_application(recipe, backbone)
    return importing


def _check_application(recipe: Recipe, backbone: Backbone) -> None:
    """Build a network of Keras Applications, whose weights Keras fetches, and look for the layer that is tuned from."""
    from toolkit.training.networks.backbone import build_backbone, tune_from

    try:
        network = build_backbone(backbone, recipe.preprocess.shape)
        if backbone.tune not in DEPTHS:
            tune_from(network, backbone, backbone.tune)
    except (RecipeError, ValueError) as error:
        hint = error.hint if isinstance(error, RecipeError) else "a larger --image-size"
        raise RecipeError(f"recipe {recipe.name!r}: {first_line(error)}", hint=hint) from None


def check_weights(recipe: Recipe) -> None:
    """Look whether the weights of EfficientNet-Lite0 are there, where the recipe wants them.

    Raises:
        MachineError: they are missing, or are other ones.
    """
    backbone = recipe.backbone
    if backbone and backbone.name == "EfficientNetLite0" and backbone.weights != "none":
        find_lite0(None if backbone.weights == "imagenet" else Path(backbone.weights))


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


def _settings(recipe: Recipe, rows: list[DataRow]) -> dict[str, Any]:
    """What a training that is continued must have in common with the one before."""
    spec = recipe.preprocess
    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.sha256,
        "image_size": [spec.height, spec.width],
        "data": bundles.data_fingerprint(rows),
        **{name: value for name, value in asdict(recipe.train).items() if name != "epochs"},
        **({"epochs": recipe.train.epochs} if recipe.train.schedule != "constant" else {}),
        **({"backbone": asdict(recipe.backbone)} if recipe.backbone else {}),
    }


def _same(bundle: Bundle, recipe: Recipe, rows: list[DataRow]) -> Bundle:
    """The bundle, if it is what this training would give.

    Raises:
        InputError: it was trained with other settings or on other data, or more epochs are asked for and its learning
            rate has fallen to zero, or its state is gone.
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
    different = workspace.different(settings, asked)
    if different == ["epochs"] and recipe.train.epochs > int(bundle.training["epochs"]):
        if recipe.train.schedule != "constant" or recipe.backbone:
            raise InputError(
                f"{bundle.path}: finished, and its learning rate has fallen to zero by the end of its training "
                f"(--epochs {bundle.training['epochs']}), so that more epochs would change nothing",
                hint=f"--epochs {recipe.train.epochs} --force trains again from the start, over that many epochs",
            )
        if (bundle.path / STATE).is_file():
            return bundle
    if different:
        raise InputError(
            f"{bundle.path}: this bundle is finished, and was trained with other settings: {', '.join(different)}",
            hint="--force trains again and replaces it when the new one is finished; --out chooses another place",
        )
    return bundle


def _say_cache(decoded: Decoded, progress: Progress) -> None:
    what = "reused from" if decoded.reused else "written to"
    progress.line(
        f"decoded images: {decoded.n_bytes / 1e6:,.0f} MB {what} {decoded.path.parent} "
        "(--cache-dir; may be deleted at any time)"
    )
