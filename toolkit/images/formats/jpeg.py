"""JPEG: ITU-T T.81, Annex B, read as libjpeg reads it."""

from __future__ import annotations

import re
import struct
from typing import Final

from toolkit.images.formats.common import MAX_PIXELS, DecodeError, Header, exif_orientation, require_data

MAX_SEGMENTS: Final = 10_000
"""Before the first scan; the largest ICC profile and EXIF of a camera take a few hundred."""

SMALL_PIXELS: Final = 1 << 20
"""Up to this many pixels a baseline file is not looked at beyond its frame header: nothing in it costs much."""

_MARKER: Final = re.compile(rb"\xff([^\x00\xff])")
"""The next marker: fill bytes and `FF 00` are skipped, as is whatever stands between two segments."""

_TOO_SOON: Final = frozenset((0xD8, 0xD9, 0xDA))
"""Start, end and scan, which cannot come before the frame."""

_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a segment: TEM and RST0..7."""

_BASELINE, _PROGRESSIVE, _ARITHMETIC = frozenset((0xC0, 0xC1)), frozenset((0xC2, 0xCA)), frozenset((0xC9, 0xCA))
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_FRAME: Final = struct.Struct(">HBHHB")

_COEFFICIENT_BYTES: Final = 2
_SECONDS_A_BLOCK: Final = 8e-9
"""What a scan takes for a block in which nothing changes."""
_ARITHMETIC_SECONDS_A_BLOCK: Final = 6e-7


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Markers up to the first frame header, and up to the first scan where the image is large or progressive."""
    orientation, at = 1, 2
    for _ in range(MAX_SEGMENTS):
        marker = data[at + 1]
        if data[at] == 0xFF and 0 < marker < 0xFF:
            at += 2
        else:
            marker, at = _next_marker(data, at)
        if marker in _FRAMES:
            return _frame(data, marker, at, orientation, max_pixels)
        if marker in _ALONE:
            continue
        if marker in _TOO_SOON:
            raise DecodeError("damaged", "damaged: the JPEG has no frame header before its data")
        length = data[at] << 8 | data[at + 1]
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\x00\x00":
            orientation = exif_orientation(data[at + 8 : at + length])
        at += length if length > 2 else 2
    raise DecodeError("damaged", f"damaged: the JPEG has more than {MAX_SEGMENTS:,} segments before its image")


def exif(data: bytes) -> bytes:
    """The EXIF data before the first frame; b"" where there are none."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        marker, at = _next_marker(data, at)
        if marker in _FRAMES or marker in _TOO_SOON:
            break
        if marker in _ALONE:
            continue
        length = data[at] << 8 | data[at + 1]
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\x00\x00":
            return data[at + 8 : at + length]
        at += max(length, 2)
    return b""


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The next marker and the position behind it, whatever stands before."""
    found = _MARKER.search(data, at)
    if found is None:
        raise IndexError
    return found[1][0], found.end()


def _frame(data: bytes, marker: int, at: int, orientation: int, max_pixels: int) -> Header:
    length, bits, height, width, n = _FRAME.unpack_from(data, at)
    header = Header("jpeg", width, height, orientation, n, bits)
    if marker in _BASELINE and width * height <= SMALL_PIXELS:
        return header
    if marker not in _BASELINE and marker not in _PROGRESSIVE and marker not in _ARITHMETIC:
        raise DecodeError("unsupported", f"not supported: a JPEG of a rare kind (frame FF {marker:02X})")
    if not 0 < header.pixels <= max_pixels:
        return header
    blocks = _blocks(data[at + 8 : at + 8 + 3 * n], width, height)
    if marker not in _ARITHMETIC:
        # A block takes a bit for its DC coefficient, and in a sequential scan one more for the end of the others.
        bits_a_block = 2 if marker in _BASELINE else 1
        require_data(header, blocks * bits_a_block, len(data) - at, 1)
    scan = _first_scan(data, at + length)
    many = marker in _PROGRESSIVE or (scan >= 0 and data[scan + 4] < n)
    # Within a scan `FF DA` cannot occur: a byte FF is followed by 0 there, or by a restart marker.
    scans = data.count(b"\xff\xda", max(scan, 0)) if many else 1
    seconds = blocks * scans * _SECONDS_A_BLOCK if many else 0.0
    if marker in _ARITHMETIC:
        seconds += blocks * _ARITHMETIC_SECONDS_A_BLOCK
    memory = blocks * 64 * _COEFFICIENT_BYTES if many else 0
    return Header("jpeg", width, height, orientation, n, bits, codec_bytes=memory, codec_seconds=seconds)


def _blocks(components: bytes, width: int, height: int) -> int:
    """Blocks of 8x8 values in all components, whole units (MCUs) as they are stored."""
    factors = [(byte >> 4 or 1, byte & 15 or 1) for byte in components[1::3]]
    if not factors:
        raise DecodeError("damaged", "damaged: the JPEG has no components")
    across = -(-width // (8 * max(h for h, _ in factors)))
    down = -(-height // (8 * max(v for _, v in factors)))
    return across * down * sum(h * v for h, v in factors)


def _first_scan(data: bytes, at: int) -> int:
    """Where the first scan's marker stands; -1 where there is none."""
    possible = at - 1
    for _ in range(MAX_SEGMENTS):
        if possible < at:
            possible = data.find(b"\xff\xda", at)
            if possible < 0:
                return -1
        marker, at = _next_marker(data, at)
        if marker == 0xDA:
            return at - 2
        if marker in _FRAMES:
            raise DecodeError("damaged", "damaged: the JPEG has two frame headers")
        if marker not in _ALONE:
            (length,) = struct.unpack_from(">H", data, at)
            at += max(length, 2)
    raise DecodeError("damaged", f"damaged: the JPEG has more than {MAX_SEGMENTS:,} segments before its image")


def ends_early(data: bytes) -> bool:
    """Whether the mark that closes the file is missing."""
    return b"\xff\xd9" not in data[-64:]
