"""How one picture looks, in a few numbers: what `check` judges darkness, blur, blankness and greyness by."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from toolkit.preprocess import MAX_PIXELS, Image, Preprocess, decode
from toolkit.similarity import Sketch, sketch_of

_SIDE = 256


@dataclass(frozen=True, slots=True)
class Looks:
    """Measures of one picture, scaled to 256x256 for all of them.

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


def look(data: bytes, max_pixels: int = MAX_PIXELS) -> Looks:
    """Measure one picture file.

    Raises:
        DecodeError: as `preprocess.decode`.
    """
    rgb = decode(data, Preprocess(height=_SIDE, width=_SIDE), max_pixels=max_pixels)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return measure(rgb, grey)


def measure(rgb: Image, grey: Image) -> Looks:
    """Measure decoded pixels, uint8 (256, 256, 3) and their grey levels (256, 256)."""
    small = np.sort(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA), axis=None)
    contrast = float(grey.std(dtype=np.float32))
    edges = float(cv2.Laplacian(grey, cv2.CV_32F).std())
    tiny = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA)
    colour = np.sort(tiny.max(axis=2) - tiny.min(axis=2), axis=None)
    return Looks(
        low=float(small[len(small) // 20]),
        high=float(small[-len(small) // 20]),
        contrast=contrast,
        sharpness=edges / max(contrast, 1.0),
        colour=float(colour[-len(colour) // 20]),
        sketch=sketch_of(grey),
    )
