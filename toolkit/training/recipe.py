"""TOML -> Recipe: the documented networks and a user's own, read and checked without TensorFlow."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from toolkit.core.errors import ModelError, UsageError
from toolkit.core.files import atomic_write
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.training.recipe_schema import (
    AUGMENTATIONS,
    INPUT,
    LAYERS,
    TOP,
    TRAIN,
    Arguments,
    as_number,
    problems,
    suggestion,
)

Output = Literal["logits", "softmax", "sigmoid"]

_EXAMPLE: Final = "see a recipe that is right: toolkit recipe show flowers"
_PACKAGED: Final = Path(__file__).parent.parent / "_recipes"
_CHECKOUT: Final = Path(__file__).parent.parent.parent / "models"


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
        optimizer, learning_rate: Keras' optimizer; 0 means its default rate.
        epochs, batch_size: batch size is over all devices.
        steps_per_epoch, validation_steps: batches of an epoch at most; 0 means as many as the data have.
        validation: the part of plain class folders that is held out.
        seed: of the weights, the shuffling, dropout, augmentation and the held-out part.
        monitor: the figure by which epochs are compared.
        patience: stop when `monitor` has not improved for so many epochs; 0 means never.
        keep: the weights that `model.keras` gets: those of the best epoch or of the last.
    """

    loss: str
    epochs: int
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 0.0
    from_logits: bool = False
    steps_per_epoch: int = 0
    validation_steps: int = 0
    validation: float = 0.2
    seed: int = 0
    monitor: str = "val_loss"
    patience: int = 0
    keep: Literal["last", "best"] = "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A network and its training, as one TOML file says it.

    Attributes:
        name: the file's stem, or its `name`.
        preprocess: input size, colour and resize policy.
        labels: class names in order, None where the data's sorted folder names are taken.
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


def recipe_dir() -> Path:
    """The folder of the documented recipes: within the package, or `models` of the checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def available() -> dict[str, Path]:
    """The documented recipes: name -> file, sorted by name.

    >>> "flowers" in available()
    True
    """
    return {path.stem: path for path in sorted(recipe_dir().glob("*.toml"), key=lambda path: path.stem)}


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
        text = path.read_text(encoding="utf-8")
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
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source}: not TOML: {error}", (str(error),), hint=_EXAMPLE) from None
    found = _problems(fields)
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        count = "one mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise RecipeError(f"{source}: {count}\n{lines}", tuple(found), hint=_EXAMPLE)
    table = dict(fields["input"])
    labels = table.pop("labels", None)
    table["colour"] = Colour(table.get("colour", "rgb"))
    table["resize"] = Resize(table.get("resize", "squash"))
    return Recipe(
        name=fields.get("name", name),
        preprocess=Preprocess(**table),
        labels=tuple(labels) if labels else None,
        augment=tuple(map(_layer, fields.get("augment", ()))),
        layers=tuple(map(_layer, fields["layers"])),
        train=Training(**fields["train"]),
        text=text,
        title=fields.get("title", ""),
        source=fields.get("source", ""),
        classes=fields.get("classes", 0),
        parameters=fields.get("parameters", 0),
    )


def _layer(table: Mapping[str, Any]) -> Layer:
    arguments = {key: value for key, value in table.items() if key != "class"}
    if table["class"] == "Rescaling":
        arguments |= {key: as_number(arguments[key]) for key in ("scale", "offset") if key in arguments}
    return Layer(table["class"], MappingProxyType(arguments))


def _problems(fields: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a recipe, in the file's order; [] where it is right."""
    tables = {"input": INPUT, "train": TRAIN}
    lists = {"augment": AUGMENTATIONS, "layers": LAYERS}
    found = _top_problems(fields, (*tables, *lists))
    for key, arguments in tables.items():
        table = fields.get(key)
        found += problems(table, arguments, f"[{key}]") if isinstance(table, dict) else [f"[{key}] is missing"]
    for key, classes in lists.items():
        entries = fields.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            found.append(f"{key} must be a list of tables, each begun with [[{key}]]")
            continue
        for index, entry in enumerate(entries, 1):
            found += _layer_problems(entry, classes, lists, f"[[{key}]] {index}")
    if not fields.get("layers"):
        found.append("[[layers]] is missing: a network needs at least one layer")
    return found or _meaning_problems(fields)


def _top_problems(fields: dict[str, Any], sections: tuple[str, ...]) -> list[str]:
    known = Arguments({**TOP.checks, **dict.fromkeys(sections, lambda _value: "")}, TOP.required)
    return problems(fields, known, "at the top")


def _layer_problems(
    entry: dict[str, Any],
    classes: Mapping[str, Arguments],
    lists: Mapping[str, Mapping[str, Arguments]],
    place: str,
) -> list[str]:
    kind = entry.get("class")
    if not isinstance(kind, str):
        return [f'{place}: class is missing, such as class = "{next(iter(classes))}"']
    if kind in classes:
        return problems({k: v for k, v in entry.items() if k != "class"}, classes[kind], f"{place} {kind}")
    for other, theirs in lists.items():
        if kind in theirs:
            return [f"{place}: {kind} belongs under [[{other}]]"]
    near = suggestion(kind, classes) or f"; allowed: {', '.join(classes)}"
    return [f"{place}: class {kind!r} is not allowed{near}"]


def _meaning_problems(fields: dict[str, Any]) -> list[str]:
    """Mistakes that show only between tables; asked where each table is right in itself."""
    found = []
    train, last = fields["train"], fields["layers"][-1]
    units, activation = last.get("units"), last.get("activation", "linear")
    place = f"[[layers]] {len(fields['layers'])} {last['class']}"
    if last["class"] != "Dense":
        found.append(f"{place}: the last layer must be Dense, which gives the classes")
    elif train["loss"] == "binary_crossentropy":
        wanted = "linear" if train.get("from_logits") else "sigmoid"
        if units != 1 or activation != wanted:
            found.append(f'{place}: binary_crossentropy needs units = 1 and activation = "{wanted}" in the last layer')
        if len(fields["input"].get("labels", "ab")) != 2:
            found.append("[input]: labels must be two for binary_crossentropy")
    else:
        wanted = "linear" if train.get("from_logits") else "softmax"
        if activation != wanted:
            found.append(f'{place}: {train["loss"]} needs activation = "{wanted}" (see from_logits) in the last layer')
        if units == 1:
            found.append(f'{place}: {train["loss"]} needs one unit per class: units = "classes"')
    names = [layer["name"] for layer in fields["layers"] if "name" in layer]
    found += [f"[[layers]]: the name {name!r} is given twice" for name in sorted(set(names)) if names.count(name) > 1]
    monitor = train.get("monitor", "val_loss")
    if not monitor.startswith("val_") and (train.get("keep") == "best" or train.get("patience")):
        found.append(f"[train]: monitor = {monitor!r}, but the best epoch is chosen on the validation part: val_loss")
    return found


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
    with atomic_write(out) as temporary:
        temporary.write_text(recipe.text, encoding="utf-8")
    return out
