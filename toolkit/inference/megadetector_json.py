"""Result files in MegaDetector's format, which Timelapse and other tools for camera traps read.

https://lila.science/megadetector-output-format, version 1.6. Each image holds its detections with the classes that the
model gave them; where no detector ran, the whole image is one detection. Beside them stand our own rows (`rows`), so
that such a file can be updated, looked at and sorted as any other result.
"""

from __future__ import annotations

import json
import posixpath
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from toolkit.core.parse import parse_json
from toolkit.inference.result_table import EMPTY, ERROR, OK

VERSION: Final = "1.6"
WHOLE: Final = "whole image"
"""The category of what no detector saw."""

_FIRST: Final = {"animal": "1", "person": "2", "vehicle": "3"}
"""MegaDetector's own categories; others get the numbers behind them."""

_BEGIN: Final = b'{"info": {"written_by": "toolkit"'

Fields = dict[str, Any]
"""One row of a result: column -> value."""


def is_own(path: Path) -> bool:
    """Whether `path` was written here."""
    with path.open("rb") as file:
        return file.read(len(BOM_UTF8) + len(_BEGIN)).removeprefix(BOM_UTF8).startswith(_BEGIN)


def write(path: Path, labels: Sequence[str], rows: Iterable[Fields]) -> None:
    """Write rows, those of one image behind each other; one line an image."""
    classes = {label: str(i) for i, label in enumerate(labels)}
    categories: dict[str, str] = {}
    with path.open("w", encoding="utf-8", newline="\n") as file:
        end, model = "", ""
        for name, group in groupby(rows, key=lambda fields: fields["path"]):
            of_image = list(group)
            if not end:
                model = str(of_image[0]["model"])
                file.write(_head(model, classes))
            image = _image(str(name), of_image, classes, categories)
            file.write(f"{end}\n{json.dumps(image, ensure_ascii=False)}")
            end = ","
        if not end:
            file.write(_head("", classes))
        named = {number: name for name, number in categories.items()} or {"1": "animal"}
        file.write(f'\n], "detection_categories": {json.dumps(named, ensure_ascii=False)}}}\n')


def _head(model: str, classes: dict[str, str]) -> str:
    info = {"written_by": "toolkit", "format_version": VERSION, "classifier": f"toolkit {model}"}
    named = json.dumps({number: label for label, number in classes.items()}, ensure_ascii=False)
    return f'{{"info": {json.dumps(info)}, "classification_categories": {named}, "images": ['


def _image(name: str, rows: list[Fields], classes: dict[str, str], categories: dict[str, str]) -> Fields:
    found: Fields = {"file": posixpath.normpath(name)}
    errors = [fields["error"] for fields in rows if fields["status"] == ERROR]
    if errors:
        found |= {"detections": None, "failure": str(errors[0])}
    else:
        detections = [_detection(fields, classes, categories) for fields in rows if fields["status"] != EMPTY]
        found["detections"] = sorted(detections, key=lambda detection: -float(detection["conf"]))
    return {**found, "rows": rows}


def _detection(fields: Fields, classes: dict[str, str], categories: dict[str, str]) -> Fields:
    category = str(fields.get("detection") or WHOLE)
    if category not in categories:
        taken = {*_FIRST.values(), *categories.values()}
        categories[category] = _FIRST.get(category) or str(1 + max(map(int, taken)))
    sides = [fields.get(f"box_{side}") for side in ("left", "top", "width", "height")]
    box = sides if all(side is not None for side in sides) else [0.0, 0.0, 1.0, 1.0]
    found: Fields = {
        "category": categories[category],
        "conf": float(fields.get("detection_confidence", 1.0) or 0.0),
        "bbox": box,
    }
    if fields["status"] == OK:
        found["classifications"] = [[classes[label], confidence] for label, confidence in _ranked(fields)]
    return found


def _ranked(fields: Fields) -> Iterator[tuple[str, float]]:
    """The labels of a row with their confidence, best first."""
    yield fields["label"], fields["confidence"]
    k = 2
    while f"label_{k}" in fields:
        yield fields[f"label_{k}"], fields[f"confidence_{k}"]
        k += 1


def read(path: Path) -> list[Fields]:
    """The rows that stand in a file of ours; none in what cannot be read."""
    try:
        content = parse_json(path.read_bytes())
        return [fields for image in content["images"] for fields in image["rows"] if isinstance(fields, dict)]
    except (ValueError, KeyError, TypeError):
        return []
