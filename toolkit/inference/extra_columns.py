"""Columns that a result file has only where they are asked for: what a detector saw, and what the camera wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from toolkit.core.parse import share
from toolkit.data.detections import box_inside
from toolkit.data.walk import Detection
from toolkit.images.exif import Exif


class Extra(NamedTuple):
    """One group of such columns."""

    name: str
    columns: tuple[str, ...]


DETECTION: Final = Extra(
    "detection", ("detection", "detection_confidence", "box_left", "box_top", "box_width", "box_height")
)
EXIF: Final = Extra("exif", ("taken", "camera"))

NUMBERS: Final = frozenset(DETECTION.columns[1:])
"""Columns among these that hold numbers."""


def detection_cells(detection: Detection | None) -> list[str]:
    """A detection as `DETECTION` has it; nothing in the cells where there is none.

    >>> detection_cells(Detection("animal", 0.9, (0, 0.25, 0.5, 0.5)))
    ['animal', '0.900000', '0.000000', '0.250000', '0.500000', '0.500000']
    """
    if detection is None or detection.box is None:
        return [""] * len(DETECTION.columns)
    return [detection.category, *(f"{number:.6f}" for number in (detection.confidence, *detection.box))]


def parse_detection(cells: Sequence[str]) -> Detection | None:
    """The inverse of `detection_cells`.

    Raises:
        ValueError: no number where one should be, or a box that is not in the image.
    """
    category, confidence, *sides = cells
    if not any((confidence, *sides)):
        return None
    left, top, width, height = map(float, sides)
    return Detection(category, share(confidence), box_inside(left, top, width, height))


def exif_cells(exif: Exif | None) -> list[str]:
    """As `EXIF` has it."""
    return [exif.taken, exif.camera] if exif else [""] * len(EXIF.columns)
