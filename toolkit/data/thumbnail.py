"""Thumbnails of files that may be anything, for pages: through the one guarded read."""

from __future__ import annotations

from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.data.read import read_file
from toolkit.images.decode import Box
from toolkit.images.limits import DEFAULT_LIMITS, Limits
from toolkit.images.thumbnail import THUMBNAIL_PIXELS, Webp, small_webp


def thumbnail(
    path: Path | str, longest: int = THUMBNAIL_PIXELS, box: Box | None = None, limits: Limits = DEFAULT_LIMITS
) -> Webp | None:
    """The image in the file, or the `box` in it, upright, its longer side at most `longest` pixels.

    None where it cannot be read.
    """
    try:
        return small_webp(read_file(str(path)), longest, box, limits)
    except InputError:
        return None
