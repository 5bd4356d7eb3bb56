"""Small copies of images for HTML pages."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import cv2

from toolkit.images.decode import Box, Image, decode
from toolkit.images.header import read_header
from toolkit.images.limits import DEFAULT_LIMITS, Limits
from toolkit.images.spec import Preprocess

THUMBNAIL_PIXELS: Final = 168
"""Longer side of a thumbnail."""

_WEBP_QUALITY: Final = 72


@dataclass(frozen=True, slots=True)
class Webp:
    """An encoded image.

    Attributes:
        data: the file.
        width, height: in pixels.
    """

    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """As a `data:` URI."""
        return "data:image/webp;base64," + base64.b64encode(self.data).decode("ascii")


def small_webp(
    data: bytes, longest: int = THUMBNAIL_PIXELS, box: Box | None = None, limits: Limits = DEFAULT_LIMITS
) -> Webp:
    """The image in these bytes, or the `box` in it, upright, its longer side at most `longest` pixels.

    Raises:
        DecodeError: they are not an image that can be decoded.
    """
    height, width = read_header(data, limits.max_pixels).upright_size
    if box is not None:
        height, width = max(1, round(height * min(box[3], 1))), max(1, round(width * min(box[2], 1)))
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = decode(data, Preprocess(height=size[0], width=size[1]), box=box, limits=limits)
    return Webp(_encoded(pixels, _WEBP_QUALITY), size[1], size[0])


def data_uri(pixels: Image, *, quality: int) -> str:
    """`pixels`, uint8 (H, W, 3) RGB, as a WebP data URI; `quality` 1..100, or 101 for lossless."""
    return Webp(_encoded(pixels, quality), pixels.shape[1], pixels.shape[0]).uri


def _encoded(pixels: Image, quality: int) -> bytes:
    _, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    return encoded.tobytes()
