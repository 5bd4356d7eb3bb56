"""PNG (ISO/IEC 15948) and its animations (APNG)."""

from __future__ import annotations

import struct
from typing import Final

from toolkit.images.formats.common import (
    MAX_PIECES,
    MAX_PIXELS,
    DecodeError,
    Header,
    exif_orientation,
    require_data,
    too_many,
)

_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> stored values a pixel."""

DEFLATE_RATIO: Final = 1032
"""The most that deflate packs: 258 bytes in two bits."""

_IHDR: Final = struct.Struct(">IIBBBBB")
_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = struct.Struct(">I4s")

_NOT_PIXELS: Final = frozenset((b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf"))
"""Chunks that do not change the pixels of the first frame. libpng would unpack each, to 8 MB if it likes."""


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """IHDR comes first; every chunk must lie within the file; eXIf may stand before or behind the pixels."""
    width, height, bits, colour, _, _, interlaced = _IHDR.unpack_from(data, 16)
    if data[12:16] != b"IHDR":
        raise DecodeError("damaged", "damaged: the PNG does not begin with IHDR")
    if width * height > max_pixels:
        return Header("png", width, height)
    orientation, held, more = 1, 0, False
    at, size, kind, n = 33, len(data), b"", 0
    if data[37:41] == b"IDAT" and data[-8:-4] == b"IEND":
        (length,) = _LENGTH.unpack_from(data, 33)
        if length == size - 57:  # nothing but IHDR, one IDAT and IEND, as small images are
            held, at, kind = length, size, b"IEND"
    while kind != b"IEND":
        n += 1
        if at + 12 > size or n > MAX_PIECES:
            raise _ends_within(data, at, n)
        length, kind = _CHUNK.unpack_from(data, at)
        if kind == b"IDAT":
            held += length
        elif kind in _NOT_PIXELS:
            more = True
            if kind == b"eXIf" and orientation == 1:
                orientation = exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    if at > size:
        raise _ends_within(data, at, n)
    stored = _SAMPLES.get(colour)
    if stored is None:
        raise DecodeError("damaged", f"damaged: the PNG has the unknown colour type {colour}")
    samples = 3 if colour == 3 else 1 if colour == 4 else stored
    # An interlaced image is gone through seven times; its rows are handed out only at the end.
    seconds = width * height * stored * 1.5e-8 if interlaced else 0.0
    header = Header("png", width, height, orientation, samples, bits, 0, seconds, False, more)
    needed = width * height * stored * bits + (0 if interlaced else 8 * height)
    return header if needed <= held else require_data(header, needed, held, DEFLATE_RATIO)


def exif(data: bytes) -> bytes:
    """The chunk eXIf, before or behind the pixels; b"" where there is none."""
    at = 8
    for _ in range(MAX_PIECES):
        if at + 12 > len(data):
            break
        length, kind = _CHUNK.unpack_from(data, at)
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _ends_within(data: bytes, end: int, n: int) -> DecodeError:
    """The error for a chunk that ends at `end`, behind the file, or for too many chunks."""
    if n > MAX_PIECES:
        return too_many("PNG")
    at, begun = 8, 8
    while at < end and at + 8 <= len(data):
        begun, at = at, at + 12 + int.from_bytes(data[at : at + 4], "big")
    length, kind = _CHUNK.unpack_from(data, begun)
    if begun + 12 + length <= len(data):
        return DecodeError("truncated", f"truncated: the PNG ends after {len(data):,} bytes, before its image does")
    name = kind.decode("ascii", "replace") if kind.isalpha() else "unknown"
    follow = max(0, len(data) - begun - 12)
    return DecodeError(
        "truncated", f"truncated: a chunk of the PNG ({name}) declares {length:,} bytes, {follow:,} follow"
    )


def still(data: bytes) -> bytes:
    """`data`, whose header is read, with nothing in it but the first frame's pixels: no texts, no profile."""
    kept, at, kind = [data[:8]], 8, b""
    while kind != b"IEND":
        length, kind = _CHUNK.unpack_from(data, at)
        if kind not in _NOT_PIXELS:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def ends_early(data: bytes) -> bool:
    """Whether the chunk that closes the file is missing."""
    return b"IEND" not in data[-64:]
