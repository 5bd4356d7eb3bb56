"""AVIF and HEIF: images in boxes (ISO/IEC 23008-12, ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from toolkit.images.formats.av1 import av1_size
from toolkit.images.formats.common import MAX_PIECES, DecodeError, Header, too_many

AVIF_BRANDS: Final = frozenset((b"avif", b"avis"))
HEIF_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))

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
    meta = _box(data, b"meta")
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
    for _, item in _items(data, meta) if kind == "avif" else ():
        stored = av1_size(data[item : item + 256])
        if stored and stored[0] * stored[1] > stored_pixels + (1 << 20):
            raise DecodeError("damaged", f"damaged: the AVIF holds an image of another size than {width}x{height}")
    alpha = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" in meta or b"hevc:2015:auxid:1" in meta
    deep = any(meta[at + 6] & 0x40 for at in _positions(meta, b"av1C"))
    orientation = _ORIENTATION[mirror[0]][rotation[0]]
    return Header(kind, width, height, orientation, samples=4 if alpha else 3, bits=16 if deep else 8)


def _box(data: bytes, kind: bytes) -> bytes:
    """The first top-level box of `kind`."""
    at = 0
    for _ in range(MAX_PIECES):
        size, found = struct.unpack_from(">I4s", data, at)
        if found == kind:
            return data[at : at + size] if size else data[at:]
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:
            raise IndexError
        at += size
    raise too_many("file")


def _positions(data: bytes, needle: bytes) -> list[int]:
    found, at = [], data.find(needle)
    while at >= 0:
        found.append(at)
        at = data.find(needle, at + 4)
    return found


def exif(data: bytes) -> bytes:
    """The item of type Exif, behind the number that says where in it the EXIF data begin; b"" where there is none."""
    meta = _box(data, b"meta")
    names = {item for item, kind in _item_kinds(meta) if kind == b"Exif"}
    for item, at in _items(data, meta):
        if item in names:
            (skipped,) = struct.unpack_from(">I", data, at)
            return data[at + 4 + skipped :]
    return b""


def _item_kinds(meta: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and type of each item (boxes `infe` of versions 2 and 3)."""
    for at in _positions(meta, b"infe"):
        wide = meta[at + 4] == 3
        behind = at + (12 if wide else 10)
        yield int.from_bytes(meta[at + 8 : behind], "big"), meta[behind + 2 : behind + 6]


def _items(data: bytes, meta: bytes) -> Iterator[tuple[int, int]]:
    """The number of each item, and where in the file its first extent begins (box `iloc`, methods 0 and 1)."""
    at = meta.find(b"iloc")
    if at < 0:
        return
    version, sizes = meta[at + 4], struct.unpack_from(">H", meta, at + 8)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = version == 2
    count = int.from_bytes(meta[at + 10 : at + (14 if wide else 12)], "big")
    inner = meta.find(b"idat")
    start_of_inner = data.find(meta[:64]) + inner + 4 if inner >= 0 else 0
    at += 14 if wide else 12
    for _ in range(min(count, MAX_PIECES)):
        number = int.from_bytes(meta[at : at + (4 if wide else 2)], "big")
        at += 4 if wide else 2
        method = 0
        if version:
            method = meta[at + 1] & 15
            at += 2
        base = int.from_bytes(meta[at + 2 : at + 2 + base_size], "big")
        at += 2 + base_size
        extents = int.from_bytes(meta[at : at + 2], "big")
        at += 2
        if at > len(meta):
            return
        if extents and method in (0, 1):
            first = at + index_size
            yield (
                number,
                base + int.from_bytes(meta[first : first + offset_size], "big") + (start_of_inner if method else 0),
            )
        at += extents * (index_size + offset_size + length_size)
