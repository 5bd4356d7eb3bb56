"""Samples -> which of them are for training and which for validation, and their batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from toolkit.core.errors import InputError
from toolkit.core.progress import Progress
from toolkit.core.text import counted
from toolkit.model_files import bundle as bundles
from toolkit.model_files.bundle import DataRow
from toolkit.training.data.batches import Batches, Rows
from toolkit.training.data.dataset import Dataset, LabelledSample, hold_out
from toolkit.training.data.decode_cache import Decoded
from toolkit.training.recipes.recipe import Recipe

_SMALL_BATCH: Final = 8
_STEPS: Final = 12  # of an epoch at least, where batches of 8 allow it
_SHOWN: Final = 50_000  # images in all epochs of a tuning together: then fewer epochs do
_EPOCHS: Final = 2  # at least
_FEW: Final = 30  # images to validate with: one of them is 3 %
_VALIDATED: Final = 500  # images after each epoch at least; at the end all of them are


def assign(dataset: Dataset, decoded: Decoded, recipe: Recipe, progress: Progress) -> list[LabelledSample]:
    """Every sample of the data set in its order, with its subset, or with the reason why it is left out.

    Raises:
        InputError: a class has no usable image in one subset.
    """
    samples = list(decoded.samples)
    if not dataset.split:
        samples = hold_out(dataset, samples, recipe.train.validation, recipe.train.seed)
    left_out = [sample for sample in samples if sample.reason]
    for sample in left_out[:10]:
        progress.warn(f"left out: {sample.path}: {sample.reason}")
    if len(left_out) > 10:
        progress.warn(f"left out: {len(left_out) - 10:,} more, listed in {bundles.DATA_CSV}")
    counts = Counter((sample.label, sample.subset) for sample in samples if not sample.reason)
    for index, label in enumerate(dataset.labels):
        for subset in ("train", "validation"):
            if not counts[index, subset]:
                raise InputError(
                    f"{dataset.root}: class {label!r} has no usable image for {subset}",
                    hint="add images to it, or take the class away; toolkit check says what is wrong with a folder",
                )
    return samples


def data_rows(dataset: Dataset, samples: Sequence[LabelledSample]) -> list[DataRow]:
    """The rows of `data.csv`."""
    return [
        DataRow(s.path, dataset.labels[s.label], bundles.LEFT_OUT if s.reason else s.subset, s.reason, s.digest)
        for s in samples
    ]


def for_so_many(
    recipe: Recipe, samples: Sequence[LabelledSample], progress: Progress, *, batch_size: bool, epochs: bool
) -> Recipe:
    """A recipe with a backbone, for the images there are.

    Where those for training are few, its batches are smaller, so that an epoch has steps enough to get somewhere; where
    those for validation are many more, a share of them is looked at after each epoch. Where those for training are
    many, a recipe that adapts has fewer epochs.

    Args:
        batch_size, epochs: whether these are given, and stay as they are.
    """
    if not recipe.backbone:
        return recipe
    counts = Counter(sample.subset for sample in samples if not sample.reason)
    train = counts["train"]
    if not epochs and recipe.adapt and recipe.backbone.tune != "none":
        recipe = _fewer_epochs(recipe, train, progress)
    return recipe if batch_size else _smaller_batches(recipe, train, counts["validation"], progress)


def _fewer_epochs(recipe: Recipe, train: int, progress: Progress) -> Recipe:
    settings = recipe.train
    n = max(_EPOCHS, min(settings.epochs, -(-_SHOWN // train)))
    if n >= settings.epochs:
        return recipe
    progress.line(
        f"{n} epochs instead of {settings.epochs}: {train:,} images for training are many; --epochs N for more"
    )
    return replace(recipe, train=replace(settings, epochs=n))


def _smaller_batches(recipe: Recipe, train: int, validation: int, progress: Progress) -> Recipe:
    settings = recipe.train
    size = max(_SMALL_BATCH, min(settings.batch_size, train // _STEPS))
    if size < settings.batch_size:
        progress.line(f"batches of {size} instead of {settings.batch_size}: {train:,} images for training are few")
        settings = replace(settings, batch_size=size)
    most = max(_VALIDATED, train)
    if not settings.validation_steps and validation > 2 * most:
        settings = replace(settings, validation_steps=-(-most // settings.batch_size))
    return replace(recipe, train=settings)


def batches(samples: Sequence[LabelledSample], recipe: Recipe, source: Rows) -> tuple[Batches, Batches]:
    """Those of the training and of the validation subset.

    Args:
        source: row i is that of sample i.
    """
    settings = recipe.train
    labels = np.array([sample.label for sample in samples], np.int64)
    # By content, so that the same images give the same weights, whatever they are called and wherever they lie.
    order = sorted(range(len(samples)), key=lambda i: (samples[i].label, samples[i].digest, samples[i].path))
    train, validation = (
        np.array([i for i in order if samples[i].subset == subset and not samples[i].reason], np.int64)
        for subset in ("train", "validation")
    )
    # Validation in one shuffled order, so that a limited number of steps sees every class.
    validation = np.random.default_rng(settings.seed).permutation(validation)
    training = Batches(
        source=source,
        rows=train,
        labels=labels[train],
        batch_size=settings.batch_size,
        steps=settings.steps_per_epoch,
        seed=settings.seed,
    )
    held = replace(training, rows=validation, labels=labels[validation], steps=settings.validation_steps, seed=None)
    return training, held


def say_limits(training: Batches, validation: Batches, recipe: Recipe, progress: Progress) -> None:
    """Where an epoch is not all the data, that it is not, and how to change it."""
    name = recipe.name
    if training.n_images < len(training.rows):
        progress.line(
            f"an epoch reads {training.n_images:,} of {len(training.rows):,} images (steps_per_epoch = "
            f"{training.steps} in recipe {name}); to read all of them, take that line out of a copy: "
            f"toolkit recipe copy {name}"
        )
    if validation.n_images < len(validation.rows):
        progress.line(
            f"after an epoch {validation.n_images:,} of {len(validation.rows):,} validation images are looked at, at "
            "the end all of them; validation_steps in a copy of the recipe changes it"
        )
    if len(validation.rows) < _FEW:
        progress.warn(
            f"{counted(len(validation.rows), 'image')} to validate with: the validation accuracy says little; "
            f"{_FEW} or more say more"
        )
