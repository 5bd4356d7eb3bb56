"""PNG (ISO/IEC 15948) and its animations (APNG)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
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

_NOT_PIXELS: Final = frozenset((b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf"))
"""Chunks that do not change the pixels of the first frame. libpng would unpack each, to 8 MB if it likes."""


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """IHDR comes first; every chunk must lie within the file; eXIf may stand before or behind the pixels."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if data[12:16] != b"IHDR":
        raise DecodeError("damaged", "damaged: the PNG does not begin with IHDR")
    if width * height > max_pixels:
        return Header("png", width, height)
    orientation, held = 1, 0
    for kind, at, length in _chunks(data):
        if kind == b"IDAT":
            held += length
        elif kind == b"eXIf" and orientation == 1:
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
    stored = _SAMPLES.get(colour)
    if stored is None:
        raise DecodeError("damaged", f"damaged: the PNG has the unknown colour type {colour}")
    samples = 3 if colour == 3 else 1 if colour == 4 else stored
    # An interlaced image is gone through seven times; its rows are handed out only at the end.
    seconds = width * height * stored * 1.5e-8 if interlaced else 0.0
    header = Header("png", width, height, orientation, samples, bits, codec_seconds=seconds)
    rows = 0 if interlaced else 8 * height
    return require_data(header, width * height * stored * bits + rows, held, DEFLATE_RATIO)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, position and length of each chunk up to IEND."""
    at, size, unpack = 8, len(data), struct.Struct(">I4s").unpack_from
    for _ in range(MAX_PIECES):
        if at + 12 > size:
            raise DecodeError("truncated", f"truncated: the PNG ends after {size:,} bytes, before its image does")
        length, kind = unpack(data, at)
        if at + 12 + length > size:
            name = kind.decode("ascii", "replace") if kind.isalpha() else "unknown"
            raise DecodeError(
                "truncated",
                f"truncated: a chunk of the PNG ({name}) declares {length:,} bytes, {size - at - 12:,} follow",
            )
        yield kind, at, length
        if kind == b"IEND":
            return
        at += 12 + length
    raise too_many("PNG")


def still(data: bytes) -> bytes:
    """`data` with nothing in it but the first frame's pixels: no other frames, no texts, no profile."""
    pieces = [(at, 12 + length) for kind, at, length in _chunks(data) if kind not in _NOT_PIXELS]
    if sum(length for _, length in pieces) == len(data) - 8:
        return data
    return data[:8] + b"".join(data[at : at + length] for at, length in pieces)


def ends_early(data: bytes) -> bool:
    """Whether the chunk that closes the file is missing."""
    return b"IEND" not in data[-64:]
