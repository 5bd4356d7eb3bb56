"""When and with what an image was taken, as the EXIF 2.32 data in its header say. No pixel is read."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from toolkit.images.formats import iso_media, jpeg, png, tiff, webp
from toolkit.images.formats.common import DecodeError
from toolkit.images.header import sniff

MAX_TEXT_BYTES: Final = 200
"""Of a longer text only so much is read."""

_MAKE, _MODEL, _CHANGED, _EXIF, _TAKEN = 0x010F, 0x0110, 0x0132, 0x8769, 0x9003
_DATE: Final = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


class Exif(NamedTuple):
    """What a camera wrote about an image.

    Attributes:
        taken: the camera's own date and time, `2024-05-01T06:12:30`; "" where it is not known.
        camera: make and model, `RECONYX HYPERFIRE 2`; "" where they are not known.
    """

    taken: str = ""
    camera: str = ""


def read_exif(data: bytes) -> Exif:
    """What EXIF says in the bytes of a JPEG, PNG, WebP, TIFF, HEIF or AVIF file; empty where it says nothing."""
    find = _FINDERS.get(sniff(data) or "")
    try:
        found = find(data) if find else b""
        return _parsed(found.removeprefix(b"Exif\0\0")) if found else Exif()
    except (DecodeError, struct.error, IndexError, KeyError, ValueError, OverflowError):
        return Exif()


_FINDERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "jpeg": jpeg.exif,
    "png": png.exif,
    "webp": webp.exif,
    "tiff": lambda data: data,
    "heif": iso_media.exif,
    "avif": iso_media.exif,
}
"""Format -> what finds its EXIF data, which have the form of a TIFF file; b"" where there are none."""


def _parsed(data: bytes) -> Exif:
    tags = tiff.Directory(data)
    inner = tiff.Directory(data, tags.number(_EXIF, 0)) if _EXIF in tags.entries else tags
    make, model = (tags.text(tag, MAX_TEXT_BYTES) for tag in (_MAKE, _MODEL))
    camera = model if model.casefold().startswith(make.casefold()) else f"{make} {model}".strip()
    return Exif(_date(inner.text(_TAKEN, MAX_TEXT_BYTES)) or _date(tags.text(_CHANGED, MAX_TEXT_BYTES)), camera)


def _date(text: str) -> str:
    """As ISO 8601; "" where it is none, such as the zeros of a camera whose clock was never set."""
    match = _DATE.match(text)
    if match is None:
        return ""
    try:
        return datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*match.groups())).isoformat()
    except ValueError:
        return ""
