"""What a training is asked for, and the recipe as these options change it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.core.coerce import coerce, whole
from toolkit.core.errors import UsageError
from toolkit.core.memory import parse_bytes
from toolkit.data.label_table import LabelTables
from toolkit.training.recipes.recipe import EFFORTS, Recipe, load_recipe
from toolkit.training.recipes.recipe_schema import suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train; None takes the recipe's own setting.

    Attributes:
        recipe: a documented recipe's name, the path of a recipe file, or a Recipe; None is `transfer`, in the variant
            that `effort` names.
        effort: "quick", "normal" or "best", where no recipe is given.
        weights: a file with the backbone's weights, instead of the recipe's.
        out: the bundle's folder.
        epochs, batch_size, seed: instead of the recipe's.
        image_size: (height, width) instead of the recipe's.
        resume: continue the unfinished training of `out`; where it is finished, nothing is done, or with more
            `epochs` than it has it is trained on.
        force: replace the bundle that is there, once the new one is finished.
        cache_dir: where decoded images are kept; None is the user's cache folder.
        workers: decoding threads, 0 is one per usable CPU.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        gpus: how many GPUs to train on; None is all visible ones, 0 is the CPU.
        labels: tables that give the classes; None: the class folders, or a `metadata.csv` in the data.
        strict: a class folder without an image, and names that differ in case only, are errors.
    """

    recipe: str | Path | Recipe | None = None
    effort: str = "normal"
    weights: Path | None = None
    out: Path = Path("model")
    epochs: int | None = None
    batch_size: int | None = None
    image_size: tuple[int, int] | None = None
    seed: int | None = None
    resume: bool = False
    force: bool = False
    cache_dir: Path | None = None
    workers: int = 0
    max_memory: int | str | None = None
    gpus: int | None = None
    labels: LabelTables | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        coerce(self, out=Path, weights=Path, cache_dir=Path, resume=bool, force=bool, strict=bool)
        coerce(self, epochs=int, batch_size=int, seed=int, workers=int, gpus=int)
        parse_bytes(self.max_memory)
        least = {"epochs": 1, "batch_size": 1, "seed": 0, "workers": 0, "gpus": 0}
        for name, value in ((name, getattr(self, name)) for name in least):
            if value is not None and value < least[name]:
                raise UsageError(f"--{name.replace('_', '-')} {value}: expected a whole number from {least[name]}")
        if not isinstance(self.recipe, Recipe | str | os.PathLike | None):
            raise UsageError(f"--recipe {self.recipe!r:.60}: expected a name, the path of a file, or a Recipe")
        object.__setattr__(self, "labels", LabelTables.of(self.labels))
        if self.image_size is not None:
            object.__setattr__(self, "image_size", _size(self.image_size))


def with_options(options: TrainOptions) -> Recipe:
    """The recipe with the options' own settings in the place of its own.

    Raises:
        RecipeError: no such recipe, or one with mistakes.
        UsageError: a setting out of range.
    """
    recipe = _named(options)
    given = {name: getattr(options, name) for name in ("epochs", "batch_size", "seed")}
    changed = {name: value for name, value in given.items() if value is not None}
    recipe = replace(recipe, train=replace(recipe.train, **changed))
    backbone = recipe.backbone
    if options.weights and not backbone:
        raise UsageError(
            f"--weights {options.weights}: recipe {recipe.name!r} has no [backbone] that they are for",
            hint="leave --recipe out, or see toolkit recipe list",
        )
    if backbone and options.weights:
        backbone = replace(backbone, weights=str(options.weights))
    if backbone and options.epochs and backbone.tune == "none":  # then the head's epochs are all there are
        backbone = replace(backbone, head_epochs=options.epochs)
    recipe = replace(recipe, backbone=backbone)
    if options.image_size:
        height, width = options.image_size
        try:
            recipe = replace(recipe, preprocess=replace(recipe.preprocess, height=height, width=width))
        except ValueError as error:
            raise UsageError(str(error)) from None
    return recipe


def _named(options: TrainOptions) -> Recipe:
    if isinstance(options.recipe, Recipe):
        return options.recipe
    if options.effort not in list(EFFORTS):  # whatever it is
        raise UsageError(
            f"--effort {options.effort}: expected {', '.join(EFFORTS)}{suggestion(options.effort, EFFORTS)}"
        )
    if options.recipe is None:
        return load_recipe(EFFORTS[options.effort])
    if options.effort != "normal":
        raise UsageError(
            f"--effort {options.effort}: chooses the recipe {EFFORTS[options.effort]!r}, but --recipe is given",
            hint="leave one of them out",
        )
    return load_recipe(options.recipe)


def _size(given: object) -> tuple[int, int]:
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return whole(given[0], "--image-size"), whole(given[1], "--image-size")
    return image_size(str(given))


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
