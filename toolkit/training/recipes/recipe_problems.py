"""Everything that is wrong with a recipe, told at once, each mistake as one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from toolkit.training.recipes.recipe_schema import (
    AUGMENTATIONS,
    BACKBONE,
    DEPTHS,
    INPUT,
    LAYERS,
    LITE0_BLOCKS,
    TOP,
    TRAIN,
    Arguments,
    problems,
    suggestion,
)


def recipe_problems(fields: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a recipe, in the file's order; [] where it is right."""
    tables = {"input": INPUT, "train": TRAIN}
    lists = {"augment": AUGMENTATIONS, "layers": LAYERS}
    if "backbone" in fields:
        tables["backbone"] = BACKBONE
    found = _top_problems(fields, (*tables, "backbone", *lists))
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
    found += [f"[[layers]]: the name {name!r} is given twice" for name, n in sorted(Counter(names).items()) if n > 1]
    found += _backbone_problems(fields)
    monitor = train.get("monitor", "val_loss")
    if not monitor.startswith("val_") and (train.get("keep") == "best" or train.get("patience")):
        found.append(f"[train]: monitor = {monitor!r}, but the best epoch is chosen on the validation subset: val_loss")
    return found


def _backbone_problems(fields: dict[str, Any]) -> list[str]:
    table = fields.get("backbone")
    if table is None:
        return []
    found = []
    if fields["input"].get("colour", "rgb") != "rgb":
        found.append('[input]: a backbone needs colour = "rgb"; grey images become grey RGB ones')
    if any(layer["class"] == "Rescaling" for layer in fields["layers"]):
        found.append(f"[[layers]]: Rescaling beside a backbone: {table['name']} brings its own scaling")
    if table["name"] == "EfficientNetLite0":
        for key, words in (("cut", ()), ("tune", DEPTHS)):
            value, known = table.get(key, LITE0_BLOCKS[0]), (*words, *LITE0_BLOCKS)
            if value not in known:
                found.append(
                    f"[backbone]: {key} = {value!r}, expected one of {', '.join(known)}{suggestion(value, known)}"
                )
        cut, tune = table.get("cut", LITE0_BLOCKS[-1]), table.get("tune")
        if not found and tune in LITE0_BLOCKS and LITE0_BLOCKS.index(tune) > LITE0_BLOCKS.index(cut):
            found.append(f"[backbone]: tune = {tune!r} lies above cut = {cut!r}, where the backbone ends")
    elif "cut" in table:
        found.append("[backbone]: only EfficientNetLite0 can be cut")
    if table.get("tune") == "none" and table.get("head_epochs") == 0:
        found.append('[backbone]: tune = "none" with head_epochs = 0 trains nothing')
    return found
