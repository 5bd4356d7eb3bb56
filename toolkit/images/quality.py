"""How one image looks, in a few numbers: what `check` judges darkness, blur, blankness and greyness by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike

from toolkit.images.decode import DEFAULT_LIMITS, Image, decode
from toolkit.images.header import Header
from toolkit.images.limits import Limits
from toolkit.images.near_duplicates import Sketch, sketch_of
from toolkit.images.spec import Preprocess

LEAST_SIDE: Final = 128
"""Sharpness says nothing about images with a shorter side."""

_SIDE: Final = 256
_SMALL: Final = 64


@dataclass(frozen=True, slots=True)
class Looks:
    """Measures of one image, scaled to 256x256, or to 64x64 where a side is shorter than `LEAST_SIDE`.

    Attributes:
        low, high: the grey levels, 0..255, under which 5 % and 95 % of the pixels lie.
        contrast: standard deviation of the grey levels.
        sharpness: deviation of the Laplacian over the contrast; 0 is a smooth surface.
        colour: the 95th percentile of the largest difference between a pixel's channels, 0..255; 0 is grey.
        sketch: for finding near copies.
    """

    low: float
    high: float
    contrast: float
    sharpness: float
    colour: float
    sketch: Sketch


def look(data: bytes, header: Header, limits: Limits = DEFAULT_LIMITS) -> Looks:
    """Measure one image file, whose header is read already.

    Raises:
        DecodeError: as `preprocess.decode`.
    """
    side = _SIDE if min(header.width, header.height) >= LEAST_SIDE else _SMALL
    rgb = decode(data, Preprocess(height=side, width=side), limits=limits)
    return measure(rgb, np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8))


def measure(rgb: Image, grey: Image) -> Looks:
    """Measure decoded pixels, uint8 (H, W, 3) and their grey levels (H, W), both sides 64 or more."""
    low, high = _percentiles(cv2.resize(grey, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA))
    contrast = _deviation(grey)
    red, green, blue = cv2.split(cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA))
    _, colour = _percentiles(cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue))
    return Looks(
        low=low,
        high=high,
        contrast=contrast,
        sharpness=_deviation(cv2.Laplacian(grey, cv2.CV_16S)) / max(contrast, 1.0),
        colour=colour,
        sketch=sketch_of(grey),
    )


def _percentiles(levels: MatLike) -> tuple[float, float]:
    """The 5th and the 95th percentile of uint8 levels."""
    up_to = np.bincount(levels.ravel(), minlength=256).cumsum()
    tail = levels.size // 20
    return float(up_to.searchsorted(tail, "right")), float(up_to.searchsorted(levels.size - tail))


def _deviation(values: MatLike) -> float:
    """The standard deviation, several times as fast as numpy's."""
    return float(cv2.meanStdDev(values)[1][0, 0])
