"""An image file -> a smaller WebP for a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from toolkit.header import read_header
from toolkit.preprocess import DecodeError, Preprocess, decode

THUMBNAIL_PIXELS: Final = 168
"""Longer side of a thumbnail."""

LARGE_PIXELS: Final = 1280
"""Longer side of the image that is looked at by itself."""

_QUALITY: Final = 72


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


def small_webp(path: Path, longest: int) -> Webp | None:
    """The image in `path`, upright, its longer side at most `longest` pixels; None where it cannot be read."""
    try:
        data = path.read_bytes()
        height, width = read_header(data).upright_size
        scale = min(1.0, longest / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = decode(data, Preprocess(height=size[0], width=size[1]))
    except (OSError, ValueError, DecodeError):
        return None
    _, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return Webp(encoded.tobytes(), size[1], size[0])
