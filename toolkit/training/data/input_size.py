"""The size of the network's input, chosen from the sizes of the images."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.progress import Progress
from toolkit.data.read import read_file
from toolkit.images.header import read_header
from toolkit.training.data.batches import spread
from toolkit.training.data.dataset import Dataset
from toolkit.training.recipes.recipe import Recipe

FEW_IMAGES: Final = 1280
"""As many images for training as a backbone gives features: a head fits so many in any case."""

_LARGE: Final = 224
_LOOKED_AT: Final = 200  # images at most
_LEAST: Final = 64  # pixels
_STEP: Final = 32  # pixels that a backbone makes one of


def adapted(recipe: Recipe, dataset: Dataset, progress: Progress) -> Recipe:
    """The recipe, with a smaller input where the images are small.

    A small image is shown at about twice its size: a backbone makes one pixel of 32, so that an image of 28 would leave
    it nothing to look at, while 160 would cost six times the 64 that serve it as well.
    """
    if not recipe.adapt:
        return recipe
    spec = recipe.preprocess
    shorter = _shorter_side(dataset)
    side = max(_LEAST, round(2 * shorter / _STEP) * _STEP) if shorter else spec.height
    if side >= min(spec.height, spec.width):
        return _for_few(recipe, dataset, side, progress)
    progress.line(
        f"input {side}x{side} instead of {spec.height}x{spec.width}: the images are small "
        f"(shorter side {shorter} pixels, median); --image-size chooses another one"
    )
    return replace(recipe, preprocess=replace(spec, height=side, width=side))


def _for_few(recipe: Recipe, dataset: Dataset, most: int, progress: Progress) -> Recipe:
    """The recipe, with a larger input where images for training are few, and time is not."""
    spec, n = recipe.preprocess, len(dataset.samples)
    n_train = sum(s.subset == "train" for s in dataset.samples) if dataset.split else n * (1 - recipe.train.validation)
    side = min(_LARGE, most)
    if n_train > FEW_IMAGES or side <= max(spec.height, spec.width):
        return recipe
    progress.line(f"input {side}x{side} instead of {spec.height}x{spec.width}: the images for training are few")
    return replace(recipe, preprocess=replace(spec, height=side, width=side))


def _shorter_side(dataset: Dataset) -> int:
    """The median of the images' shorter sides, 0 where none can be read."""
    sides = []
    ordered = sorted(dataset.samples, key=lambda sample: sample.size)  # whatever the files are called
    for place in spread(range(len(ordered)), _LOOKED_AT):
        try:
            header = read_header(read_file(str(dataset.root / ordered[place].path)))
        except InputError:
            continue
        sides.append(min(header.upright_size))
    return int(statistics.median(sides)) if sides else 0
