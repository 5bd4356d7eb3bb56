"""Small copies of images for HTML pages."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import cv2

from toolkit.images.decode import DecodeError, Image, decode
from toolkit.images.header import read_header
from toolkit.images.spec import Preprocess

THUMBNAIL_PIXELS: Final = 168
"""Longer side of a thumbnail."""

_WEBP_QUALITY: Final = 72


def thumbnail(path: str) -> tuple[str, int, int] | None:
    """A small picture as a data URI, with its width and height; None where the file can no longer be read."""
    try:
        data = Path(path).read_bytes()
        height, width = read_header(data).upright_size
        scale = min(1.0, THUMBNAIL_PIXELS / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = decode(data, Preprocess(height=size[0], width=size[1]))
    except (OSError, ValueError, DecodeError):
        return None
    return data_uri(pixels, quality=_WEBP_QUALITY), size[1], size[0]


def data_uri(pixels: Image, *, quality: int) -> str:
    """`pixels`, uint8 (H, W, 3) RGB, as a WebP data URI; `quality` 1..100, or 101 for lossless."""
    _, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
