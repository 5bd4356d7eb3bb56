"""A finished training -> the files of its bundle. Imports TensorFlow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.csv_files import write_confusion_csv, write_report_csv
from toolkit.model_files import bundle as bundles
from toolkit.model_files import pretrained
from toolkit.model_files.bundle import Bundle, DataRow
from toolkit.model_files.contract import Contract
from toolkit.model_files.history import write_history
from toolkit.plotting import evaluation as plots
from toolkit.plotting import training as training_plots
from toolkit.plotting.style import save_png, style
from toolkit.training.data.augment import augmentation
from toolkit.training.data.batches import Batches, Rows, spread
from toolkit.training.data.dataset import Dataset
from toolkit.training.fit import Fit
from toolkit.training.networks import keras_model as network
from toolkit.training.networks.keras_model import Networks
from toolkit.training.recipes.recipe import Recipe
from toolkit.training.tuning import answers, runs_apart
from toolkit.training.workspace import BEST_WEIGHTS

N_CHECK_IMAGES: Final = 128


def write_bundle(
    folder: Path,
    dataset: Dataset,
    rows: list[DataRow],
    recipe: Recipe,
    networks: Networks,
    fit: Fit,
    batches: tuple[Batches, Batches],
    features: Rows | None = None,
) -> Bundle:
    """Write everything of the bundle into `folder`, `bundle.json` last.

    Args:
        batches: of the training subset and of the whole validation subset.
        features: what `networks.features` makes of the rows of the batches, where that is known.
    """
    training, validation = batches
    net = networks.network
    network.save(folder / bundles.LAST_WEIGHTS, net.save_weights)
    kept = len(fit.epochs) - 1
    if recipe.train.keep == "best":
        net.load_weights(folder / BEST_WEIGHTS)
        kept = fit.best
    network.save(folder / bundles.MODEL_KERAS, net.save)
    probabilities = network.probabilities(answers(networks, recipe, validation, features), recipe.output)
    confusion = ConfusionMatrix(dataset.labels)
    confusion.add(validation.labels, probabilities.argmax(axis=1))
    figures = compute_report(confusion)
    write_report_csv(figures, folder / bundles.REPORT_CSV)
    write_confusion_csv(confusion, folder / bundles.CONFUSION_CSV)
    picked = np.array(spread(range(len(validation.rows)), N_CHECK_IMAGES), np.int64)  # they are shuffled
    images = validation.source.take(validation.rows[picked])
    bundles.write_check(folder / bundles.CHECK_NPZ, images, probabilities[picked])
    bundles.write_data_csv(folder / bundles.DATA_CSV, rows)
    (folder / bundles.RECIPE_TOML).write_text(recipe.text, encoding="utf-8")
    (folder / bundles.SUMMARY_TXT).write_text(network.summary(net), encoding="utf-8")
    write_history(folder / bundles.HISTORY_CSV, fit.epochs)
    _write_plots(folder, dataset, recipe, networks, fit, training)
    n = training_plots.PREDICTIONS
    training_plots.write_predictions(
        folder / "predictions.png", images[:n], validation.labels[picked[:n]], probabilities[picked[:n]], dataset.labels
    )
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
        training=_training_fields(recipe, fit, kept),
        data=data_fields(dataset, rows),
        metrics={"accuracy": _accuracy(confusion), **_last_figures(fit, kept)},
        versions=_versions(),
    )
    bundles.write_bundle_json(bundle)
    return bundle


def _training_fields(recipe: Recipe, fit: Fit, kept: int) -> dict[str, Any]:
    fields = {**asdict(recipe.train), "kept_epoch": kept + 1, "finished_epochs": len(fit.epochs), **fit.notes}
    if recipe.backbone:
        fields["backbone"] = asdict(recipe.backbone)
        if recipe.backbone.name == "EfficientNetLite0" and recipe.backbone.weights != "none":
            fields["weights"] = {
                "source": pretrained.SOURCE,
                "sha256": pretrained.SHA256,
                "licence": pretrained.LICENCE,
            }
    return fields


def _accuracy(confusion: ConfusionMatrix) -> float:
    return float(np.trace(confusion.counts) / confusion.counts.sum())


def _last_figures(fit: Fit, kept: int) -> dict[str, float]:
    row = fit.epochs[kept]
    found = {"loss": row.loss, "val_loss": row.val_loss, "train_accuracy": row.accuracy}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def data_fields(dataset: Dataset, rows: Sequence[DataRow]) -> dict[str, Any]:
    """Root, counts and fingerprint of the data, for `bundle.json`."""
    counts = Counter((row.subset, row.label) for row in rows)
    subsets = {subset: {label: counts[subset, label] for label in dataset.labels} for subset in ("train", "validation")}
    left_out = sum(row.subset == bundles.LEFT_OUT for row in rows)
    return {"root": str(dataset.root), **subsets, "left_out": left_out, "fingerprint": bundles.data_fingerprint(rows)}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("toolkit-images", "tensorflow", "keras", "numpy", "opencv-python-headless"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _write_plots(
    folder: Path, dataset: Dataset, recipe: Recipe, networks: Networks, fit: Fit, training: Batches
) -> None:
    with style() as theme:
        save_png(plots.training_curves(fit.epochs, theme), folder / "curves.png")
    labels = training.labels
    # One of each class in turn, so that the grid shows as many classes as it can.
    place = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        place[labels == label] = np.arange((labels == label).sum())
    order = np.random.default_rng(recipe.train.seed).permutation(len(labels))
    picked = order[np.argsort(place[order], kind="stable")][: training_plots.SAMPLES]
    images = training.source.take(training.rows[picked])
    names = [dataset.labels[labels[i]] for i in picked]
    training_plots.write_samples(folder / "samples.png", images, names)
    if networks.augment is not None and fit.notes.get("tuned") != "none":  # nothing was augmented for a head alone
        copies = np.repeat(images[:1], training_plots.AUGMENTED, axis=0)
        augment = augmentation(recipe.augment) if runs_apart(recipe) else None
        if augment:
            augmented = augment(copies, np.random.default_rng(recipe.train.seed)).astype(np.float32)
        else:
            augmented = np.asarray(networks.augment(copies.astype(np.float32), training=True))
        training_plots.write_augmented(folder / "augmented.png", images[0], augmented, names[0])
