"""BMP and Netpbm: rows of plain values."""

from __future__ import annotations

import re
import struct
from typing import Final

from toolkit.images.formats.common import DecodeError, Header, require_data

BMP_HEADER_SIZES: Final = tuple(struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124))

PLAIN, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_RLE_RATIO: Final = 16_256
"""Pixels that a byte of RLE covers at most: a jump (delta) of 255x255 takes four."""


def read_bmp(data: bytes) -> Header:
    """The info header behind the file header."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = PLAIN
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        compression = struct.unpack_from("<I", data, 30)[0] if size >= 40 else PLAIN
    width, height = abs(width), abs(height)
    header = Header("bmp", width, height, bits=8, codec_bytes=4 * width * height if compression >= BITFIELDS else 0)
    held = len(data) - 14 - size
    if compression in (RLE8, RLE4):
        return require_data(header, 8 * width * height, held, _RLE_RATIO)
    return require_data(header, width * height * bits, held, 1)


def bmp_masks(data: bytes) -> tuple[int, int, int, int] | None:
    """Bits a pixel and the masks of red, green and blue of a BMP that has masks; None where it has none.

    Raises:
        DecodeError: masks that are none: empty, with gaps, or overlapping.
    """
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 40 or struct.unpack_from("<I", data, 30)[0] not in (BITFIELDS, ALPHA_BITFIELDS):
        return None
    (bits,) = struct.unpack_from("<H", data, 28)
    red, green, blue = struct.unpack_from("<III", data, 54)
    for mask in (red, green, blue):
        run = mask // (mask & -mask) if mask else 0
        if not mask or run & (run + 1) or mask >> bits:
            raise DecodeError("damaged", f"damaged: the BMP's colour mask {mask:#x} is none for {bits} bits")
    if bits not in (16, 32) or red & green or green & blue or red & blue:
        raise DecodeError("damaged", "damaged: the BMP's colour masks overlap")
    return bits, red, green, blue


def bmp_ends_early(data: bytes) -> bool:
    """Whether bytes are missing that its header announces."""
    return len(data) < int.from_bytes(data[2:6], "little")


_NUMBER: Final = re.compile(rb"(?:[ \t-\r]|#[^\n\r]*[\n\r])*+([0-9]+)")
"""White space, comments up to the end of their line, and a number."""


def read_pnm(data: bytes) -> Header:
    """Netpbm: width, height and (but for bitmaps) the value of white behind the magic; comments begin with #."""
    kind = data[1] - ord("0")
    numbers: list[int] = []
    at = 2
    for _ in range(2 if kind in (1, 4) else 3):
        found = _NUMBER.match(data, at)
        if found is None and (len(data) - at < 64 or b"#" in data[at : at + 64]):
            raise IndexError
        if found is None or len(found[1]) > 9:
            raise DecodeError("damaged", "damaged: the PNM header holds no size")
        numbers.append(int(found[1]))
        at = found.end()
    width, height, white = (*numbers, 1)[:3]
    samples = 3 if kind in (3, 6) else 1
    header = Header("pnm", width, height, samples=samples, bits=16 if white > 255 else 8)
    bits = {1: 8, 2: 16, 3: 16, 4: 1}.get(kind, header.bits)  # in text a value takes a digit, and but for P1 a gap
    return require_data(header, max(0, width * height * samples * bits - 8), len(data) - at, 1)
