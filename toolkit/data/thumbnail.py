"""Thumbnails of files that may be anything, for pages: through the one guarded read."""

from __future__ import annotations

from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.data.read import read_file
from toolkit.images.thumbnail import THUMBNAIL_PIXELS, Webp, small_webp


def thumbnail(path: Path | str, longest: int = THUMBNAIL_PIXELS) -> Webp | None:
    """The image in the file, upright, its longer side at most `longest` pixels; None where it cannot be read."""
    try:
        return small_webp(read_file(str(path)), longest)
    except InputError:
        return None
