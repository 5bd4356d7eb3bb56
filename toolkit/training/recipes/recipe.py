"""TOML -> Recipe: the documented networks and a user's own, read and checked without TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from toolkit.core.errors import ModelError, UsageError
from toolkit.core.files import regular, write_text
from toolkit.core.parse import parse_toml
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.training.recipes.recipe_problems import recipe_problems
from toolkit.training.recipes.recipe_schema import OPTIMIZERS, as_number, recipe_name, suggestion

Output = Literal["logits", "softmax", "sigmoid"]

_EXAMPLE: Final = "see a recipe that is right: toolkit recipe show flowers"
_PACKAGED: Final = Path(__file__).parent.parent.parent / "_recipes"
_CHECKOUT: Final = Path(__file__).parent.parent.parent.parent / "models"


@dataclass(frozen=True, slots=True)
class Layer:
    """One Keras layer: its class and that class's own arguments."""

    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The `[train]` table.

    Attributes:
        loss: a loss of Keras; with `from_logits` the network's last layer has no softmax or sigmoid.
        optimizer, learning_rate: Keras' optimizer and its rate; where a recipe has none, that of Keras.
        epochs, batch_size: batch size is over all devices.
        steps_per_epoch, validation_steps: batches of an epoch at most; 0 means as many as the data have.
        validation: the share of plain class folders that is held out.
        seed: of the weights, the shuffling, dropout, augmentation and the held-out subset.
        schedule: "cosine" lets the rate fall to zero over all epochs.
        label_smoothing: the share of each label that is spread over all classes, 0..1.
        class_weights: "balanced" gives every class the same weight in the loss, however many images it has.
        monitor: the metric by which epochs are compared.
        patience: stop when `monitor` has not improved for so many epochs; 0 means never.
        keep: the weights that `model.keras` gets: those of the best epoch or of the last.
    """

    loss: str
    epochs: int
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    from_logits: bool = False
    steps_per_epoch: int = 0
    validation_steps: int = 0
    validation: float = 0.2
    seed: int = 0
    monitor: str = "val_loss"
    patience: int = 0
    keep: Literal["last", "best"] = "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """The `[backbone]` table: a published network below the recipe's own layers.

    Attributes:
        name: one of `recipe_schema.BACKBONES`.
        weights: "imagenet", "none" (random ones), or the path of their file.
        cut: the block after which the backbone ends; "" is all of it.
        tune: which of it is trained once the head is: "none", "all", "auto" (decided by what the head has reached),
            or the name of the first block or layer.
        head_epochs: epochs in which the layers above are trained alone, on features that are computed once.
        head_learning_rate: Adam's rate in those epochs; it falls to zero along a cosine.
    """

    name: str
    weights: str = "imagenet"
    cut: str = ""
    tune: str = "auto"
    head_epochs: int = 20
    head_learning_rate: float = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A network and its training, as one TOML file says it.

    Attributes:
        name: the file's stem, or its `name`.
        preprocess: input size, colour and resize policy.
        labels: class names in order, None where the data's sorted folder names are taken.
        adapt: whether a smaller input is chosen where the images are smaller than the recipe's.
        backbone: the published network that `layers` stand on; None where `layers` are all.
        augment, layers: in order.
        train: settings of the training.
        classes, parameters: the documented number of classes and the parameters it gives; 0 where not said.
        text: the file as it stands, for the bundle and `recipe copy`.
    """

    name: str
    preprocess: Preprocess
    layers: tuple[Layer, ...]
    train: Training
    text: str
    adapt: bool = False
    backbone: Backbone | None = None
    augment: tuple[Layer, ...] = ()
    labels: tuple[str, ...] | None = None
    title: str = ""
    source: str = ""
    classes: int = 0
    parameters: int = 0

    @property
    def output(self) -> Output:
        """What the network's last layer gives."""
        if self.train.from_logits:
            return "logits"
        return "sigmoid" if self.train.loss == "binary_crossentropy" else "softmax"

    @property
    def binary(self) -> bool:
        """Whether one output unit stands for two classes."""
        return self.train.loss == "binary_crossentropy"

    @property
    def sha256(self) -> str:
        """Of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class RecipeError(ModelError):
    """A recipe is not found or not right.

    Attributes:
        problems: everything that is wrong with it, one line each.
    """

    def __init__(self, message: str, found: tuple[str, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = found


DEFAULT: Final = "transfer"
EFFORTS: Final = {"quick": "transfer-quick", "normal": DEFAULT, "best": "transfer-best"}
"""Recipes of a training that names none, by how much effort it may take."""


def recipe_dir() -> Path:
    """The folder of the documented recipes: within the package, or `models` of the checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def available() -> dict[str, Path]:
    """The recipes that come with the package: name -> file, sorted by name.

    >>> "flowers" in available()
    True
    """
    return {path.stem: path for path in sorted(recipe_dir().glob("*.toml"), key=lambda path: path.stem)}


def documented() -> list[str]:
    """The names of the documented networks, sorted: the recipes that begin with random weights.

    >>> len(documented())
    7
    """
    return [name for name in available() if load_recipe(name).backbone is None]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A documented recipe by its name, or a user's own by its path (with a `.toml` suffix or a folder before it).

    >>> load_recipe("flowers").preprocess.shape
    (180, 180, 3)

    Raises:
        RecipeError: no such recipe, or one with mistakes; all of them are in the message.
    """
    name = str(name_or_path)
    documented = available()
    if name in documented:
        path = documented[name]
    elif name.endswith(".toml") or Path(name).name != name or Path(name).is_file():
        path = Path(name)
    else:
        known = ", ".join(documented)
        raise RecipeError(
            f"there is no recipe {name!r}{suggestion(name, documented)}",
            hint=f"toolkit recipe list, or the path of your own .toml file; documented: {known}",
        )
    try:
        text = regular(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file", hint="toolkit recipe list") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})", hint="toolkit recipe list") from None
    return parse_recipe(text, source=str(path), name=path.stem)


def parse_recipe(text: str, *, source: str, name: str) -> Recipe:
    """The recipe that `text` says; `source` names it in errors, `name` is its name where it gives none.

    Raises:
        RecipeError: not TOML, or with mistakes; all of them are in the message.
    """
    try:
        fields = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{source}: not TOML: {error}", (str(error),), hint=_EXAMPLE) from None
    found = recipe_problems(fields)
    if "name" not in fields and (expected := recipe_name(name)):
        found = [f"the file's name names the recipe: {name!r:.60}, expected {expected}; or say name = ...", *found]
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        count = "one mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise RecipeError(f"{source}: {count}\n{lines}", tuple(found), hint=_EXAMPLE)
    table = dict(fields["input"])
    labels, adapt = table.pop("labels", None), table.pop("adapt", False)
    table["colour"] = Colour(table.get("colour", "rgb"))
    table["resize"] = Resize(table.get("resize", "squash"))
    return Recipe(
        name=fields.get("name", name),
        preprocess=Preprocess(**table),
        labels=tuple(labels) if labels else None,
        adapt=adapt,
        backbone=Backbone(**fields["backbone"]) if "backbone" in fields else None,
        augment=tuple(map(_layer, fields.get("augment", ()))),
        layers=tuple(map(_layer, fields["layers"])),
        train=_training(fields["train"]),
        text=text,
        title=fields.get("title", ""),
        source=fields.get("source", ""),
        classes=fields.get("classes", 0),
        parameters=fields.get("parameters", 0),
    )


def _training(table: Mapping[str, Any]) -> Training:
    train = Training(**table)
    return train if train.learning_rate else replace(train, learning_rate=OPTIMIZERS[train.optimizer])


def _layer(table: Mapping[str, Any]) -> Layer:
    arguments = {key: value for key, value in table.items() if key != "class"}
    if table["class"] == "Rescaling":
        arguments |= {key: as_number(arguments[key]) for key in ("scale", "offset") if key in arguments}
    return Layer(table["class"], MappingProxyType(arguments))


def copy_recipe(name: str | Path, out: Path, *, force: bool = False) -> Path:
    """Copy a recipe, once it is read without mistakes, to the file `out`, whose suffix must be `.toml`.

    Raises:
        RecipeError: no such recipe, or one with mistakes.
        UsageError: `out` has another suffix, or exists and `force` is not set.
    """
    recipe = load_recipe(name)
    if out.suffix != ".toml":
        raise UsageError(f"{out}: a recipe file is named .toml", hint=f"toolkit recipe copy {name} {out}.toml")
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already", hint="give another name, or --force to replace it")
    write_text(out, recipe.text)
    return out
