"""Augmentation of uint8 images in OpenCV: what Keras' layers of the same names do, in one resampling.

Keras resamples an image once for each of its geometric layers, which costs as much as a small network's upper half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.training.recipes.recipe import Layer

Images = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Augmentation = Callable[[Images, np.random.Generator], Images]
"""uint8 (N, H, W, C) and what draws the random numbers -> changed copies of the same shape."""

_BORDERS: Final = {
    "reflect": cv2.BORDER_REFLECT,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
}
_INTERPOLATIONS: Final = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}
_GEOMETRIC: Final = ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation")
_TONAL: Final = ("RandomContrast", "RandomBrightness")
_LEVELS: Final = np.arange(256, dtype=np.float32)[:, None]


def augmentation(layers: Sequence[Layer]) -> Augmentation | None:
    """The function that does what `layers` say; None where one of them is for Keras alone.

    Geometric layers come before the tonal ones, and share how they fill what they uncover.
    """
    kinds = [layer.kind for layer in layers]
    n = sum(kind in _GEOMETRIC for kind in kinds)
    geometric, tonal = layers[:n], layers[n:]
    fills = {
        (
            layer.arguments.get("fill_mode", "reflect"),
            layer.arguments.get("interpolation", "bilinear"),
            float(layer.arguments.get("fill_value", 0)),
        )
        for layer in geometric
        if layer.kind != "RandomFlip"
    } or {("reflect", "bilinear", 0.0)}
    ((fill, interpolation, value), *others) = fills
    known = all(kind in _GEOMETRIC for kind in kinds[:n]) and all(kind in _TONAL for kind in kinds[n:])
    if not layers or not known or others or fill not in _BORDERS:
        return None

    def augmented(images: Images, random: np.random.Generator) -> Images:
        height, width = images.shape[1:3]
        changed = np.empty_like(images)
        for i, image in enumerate(images):
            matrix = np.eye(3)
            for layer in geometric:
                matrix = matrix @ _matrix(layer, height, width, random)
            moved = cv2.warpAffine(
                image,
                matrix[:2],
                (width, height),
                flags=_INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP,
                borderMode=_BORDERS[fill],
                borderValue=(value,) * 4,
            )
            changed[i] = _toned(moved.reshape(image.shape), tonal, random)
        return changed

    return augmented


def _matrix(layer: Layer, height: int, width: int, random: np.random.Generator) -> Matrix:
    """A pixel's place after the layer -> its place before, both (x, y, 1)."""
    arguments = layer.arguments
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = np.eye(3)
    if layer.kind == "RandomFlip":
        mode = arguments.get("mode", "horizontal_and_vertical")
        signs = [-1.0 if word in mode and random.random() < 0.5 else 1.0 for word in ("horizontal", "vertical")]
        return _about(x, y, np.diag([*signs, 1.0]))
    if layer.kind == "RandomRotation":
        angle = 2 * math.pi * _drawn(arguments, "factor", random)
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
        return _about(x, y, matrix)
    if layer.kind == "RandomZoom":
        down = 1 + _drawn(arguments, "height_factor", random)
        across = 1 + _drawn(arguments, "width_factor", random) if arguments.get("width_factor") else down
        return _about(x, y, np.diag([across, down, 1.0]))
    matrix[:2, 2] = (
        -width * _drawn(arguments, "width_factor", random),
        -height * _drawn(arguments, "height_factor", random),
    )
    return matrix


def _about(x: float, y: float, matrix: Matrix) -> Matrix:
    """The matrix with (x, y) as the point that stays."""
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (x, y), (-x, -y)
    found: Matrix = there @ matrix @ back
    return found


def _toned(image: Images, layers: Sequence[Layer], random: np.random.Generator) -> Images:
    """The image with another contrast or brightness: a table of levels for each channel."""
    for layer in layers:
        if layer.kind == "RandomContrast":
            low, high = _limits(layer.arguments["factor"])
            drawn = float(random.uniform(-abs(low), high))  # a pair is of two distances from 1
            means = np.asarray(cv2.mean(image)[: image.shape[2]], np.float32)
            table = (_LEVELS - means) * (1 + drawn) + means
        else:
            drawn = _drawn(layer.arguments, "factor", random)
            table = np.repeat(_LEVELS + 255 * drawn, image.shape[2], axis=1)
        levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
        image = np.asarray(cv2.LUT(image, levels[:, None]), np.uint8).reshape(image.shape)
    return image


def _drawn(arguments: Mapping[str, Any], name: str, random: np.random.Generator) -> float:
    """A number within the factor: from minus to plus it, or from the first of two to the second."""
    low, high = _limits(arguments[name])
    return float(random.uniform(low, high))


def _limits(factor: Any) -> tuple[float, float]:
    low, high = sorted(factor) if isinstance(factor, list | tuple) else (-abs(factor), abs(factor))
    return float(low), float(high)
