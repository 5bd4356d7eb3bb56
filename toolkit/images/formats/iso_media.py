"""AVIF and HEIF: images in boxes (ISO/IEC 23008-12, ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from toolkit.images.formats.av1 import av1_size
from toolkit.images.formats.common import MAX_PIECES, DecodeError, Header, too_many

AVIF_BRANDS: Final = frozenset((b"avif", b"avis"))
HEIF_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))

SLACK_PIXELS: Final = 1 << 20
"""By which what is stored may be more than what is shown: whole blocks of a codec."""

MAX_ITEMS: Final = 4_096
"""Tiles of a grid, and what else an image is made of."""

_ORIENTATION: Final = {-1: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}
"""`imir` axis (-1: no mirror) -> EXIF orientation by `irot` (quarter turns against the clock)."""


def brand(data: bytes) -> str | None:
    """ "avif" or "heif" by the first box, where it is one of these."""
    if data[4:8] != b"ftyp":
        return None
    major, size = data[8:12], int.from_bytes(data[:4], "big")
    every = {major, *(data[at : at + 4] for at in range(16, min(size, len(data), 256), 4))}
    if major in AVIF_BRANDS or (major in (b"mif1", b"msf1") and every & AVIF_BRANDS):
        return "avif"
    return "heif" if major in HEIF_BRANDS or (major in (b"mif1", b"msf1") and every & HEIF_BRANDS) else None


def read(data: bytes) -> Header:
    """The largest `ispe` property is the image's, `irot` and `imir` turn it; what AV1 itself says must not be more."""
    kind = brand(data) or "avif"
    start, end = box(data, 0, len(data), b"meta")
    meta = data[start:end]
    sizes = [struct.unpack_from(">II", meta, at + 8) for at in _positions(meta, b"ispe")]
    if not sizes:
        raise IndexError
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    stored_pixels = width * height
    for at in _positions(meta, b"clap") if kind == "heif" else ():  # what is shown of the coded image
        across, a, down, b = struct.unpack_from(">IIII", meta, at + 4)
        if a and b and width // 2 < across // a <= width and height // 2 < down // b <= height:
            width, height = across // a, down // b
    rotation = [meta[at + 4] & 3 for at in _positions(meta, b"irot")] or [0]
    mirror = [meta[at + 4] & 1 for at in _positions(meta, b"imir")] or [-1]
    if kind == "avif" and _most_pixels(data, start, end) > stored_pixels + SLACK_PIXELS:
        raise DecodeError("damaged", f"damaged: the AVIF holds an image of another size than {width}x{height}")
    alpha = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" in meta or b"hevc:2015:auxid:1" in meta
    deep = any(meta[at + 6] & 0x40 for at in _positions(meta, b"av1C"))
    orientation = _ORIENTATION[mirror[0]][rotation[0]]
    return Header(kind, width, height, orientation, samples=4 if alpha else 3, bits=16 if deep else 8)


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes from `at` to `end`: kind, start and end of each."""
    for _ in range(MAX_PIECES):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        elif not size:
            size = end - at
        if size < 8:
            raise IndexError
        yield kind, at, min(at + size, end)
        at += size
    raise too_many("file")


def box(data: bytes, at: int, end: int, kind: bytes) -> tuple[int, int]:
    """Start and end of the first box of `kind`."""
    for found, start, stop in boxes(data, at, end):
        if found == kind:
            return start, stop
    raise IndexError


def _positions(data: bytes, needle: bytes) -> list[int]:
    found, at = [], data.find(needle)
    while at >= 0:
        found.append(at)
        at = data.find(needle, at + 4)
    return found


def exif(data: bytes) -> bytes:
    """The item of type Exif, behind the number that says where in it the EXIF data begin; b"" where there is none."""
    for kind, at, stop in _items(data, *box(data, 0, len(data), b"meta")):
        if kind == b"Exif":
            (skipped,) = struct.unpack_from(">I", data, at)
            return data[at + 4 + skipped : stop]
    return b""


def _most_pixels(data: bytes, start: int, end: int) -> int:
    """Of the largest image that an item holds, by its AV1 data or its grid: what is decoded whatever `ispe` says.

    Args:
        start, end: of the box `meta`.
    """
    most = 0
    for kind, at, stop in _items(data, start, end):
        size: tuple[int, int] | None = None
        if kind == b"av01":
            size = av1_size(data, at, min(stop, len(data)))
            if size is None:
                raise DecodeError("damaged", "damaged: the AVIF holds an image without a header")
        elif kind == b"grid":
            size = struct.unpack_from(">II" if data[at + 1] & 1 else ">HH", data, at + 4)
        most = max(most, size[0] * size[1] if size else 0)
    return most


def _items(data: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """Of each item in the box `meta` from `start` to `end`: its type, and where its first extent stands."""
    inside = {kind: (at, stop) for kind, at, stop in boxes(data, start + 12, end)}
    if b"iloc" not in inside or b"iinf" not in inside:
        raise IndexError
    kinds = dict(_item_kinds(data, *inside[b"iinf"]))
    places = _item_places(data, *inside[b"iloc"], inside.get(b"idat"))
    found = list(dict.fromkeys((kinds.get(number, b""), at, stop) for number, at, stop in places))
    if len(found) > MAX_ITEMS:
        raise too_many("AVIF", MAX_ITEMS)
    return found


def _item_kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item (box `iinf`)."""
    first = start + (14 if data[start + 8] == 0 else 16)
    for kind, at, _ in boxes(data, first, end):
        if kind == b"infe" and data[at + 8] >= 2:
            width = 2 if data[at + 8] == 2 else 4
            number = int.from_bytes(data[at + 12 : at + 12 + width], "big")
            yield number, data[at + 14 + width : at + 18 + width]


def _item_places(data: bytes, start: int, end: int, inner: tuple[int, int] | None) -> Iterator[tuple[int, int, int]]:
    """Number of each item, and where in the file its first extent stands (box `iloc`, construction methods 0 and 1)."""
    version = data[start + 8]
    (sizes,) = struct.unpack_from(">H", data, start + 12)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    count = int.from_bytes(data[start + 14 : start + 14 + wide], "big")
    at = start + 14 + wide

    def number(n: int) -> int:
        nonlocal at
        at += n
        return int.from_bytes(data[at - n : at], "big")

    for _ in range(min(count, MAX_PIECES)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = number(2)
        if at > end:
            return
        next_item = at + extents * (index_size + offset_size + length_size)
        if extents and method in (0, 1):
            number(index_size)
            place = base + number(offset_size) + (inner[0] + 8 if method and inner else 0)
            length = number(length_size)
            yield item, place, place + length if length else len(data)
        at = next_item
