"""TIFF 6.0 and BigTIFF: the first image, read as libtiff reads it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from toolkit.images.formats.common import DecodeError, Header, require_data, valid_orientation

MAX_VALUES: Final = 1 << 24
"""Values of one tag that are read."""

SHARED_BYTES: Final = 1 << 20
"""Of values that tags may have in common."""

_ORDER: Final = {b"II": "<", b"MM": ">"}
_TYPES: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}

_ASCII: Final = 2
_TYPE_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

# Tags.
_KIND, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _COLOURS = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _ROWS, _MAXIMUM, _PLANES = 274, 277, 278, 281, 284
_TILE_WIDTH, _TILE_LENGTH, _INNER, _EXTRA, _SAMPLE_FORMAT, _DNG = 322, 323, 330, 338, 339, 50706

_RATIO: Final = {1: 1.0, 5: 2731.0, 7: 256.0, 8: 1032.0, 32946: 1032.0, 32773: 64.0}
"""Compression -> the most bytes that one can become; for the others (fax, LZMA, ...) there is no such bound."""

_SUBSAMPLED: Final = 6
"""YCbCr: what is stored may be half of what its sample count says."""

_READ_BY_OPENCV: Final = frozenset((1, 2, 3, 4, 5, 7, 8, 32773, 32946))


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag: its type, how many values it has, and where they stand."""

    kind: int
    count: int
    at: int


class Directory:
    """The first directory of a TIFF, or the one at `start`; of two equal tags the first counts, as for libtiff."""

    def __init__(self, data: bytes, start: int | None = None) -> None:
        self._data = data
        self.order = _ORDER[data[:2]]
        self.big = data[2:4] in (b"+\x00", b"\x00+")
        pointer, counter, size = ("Q", "Q", 20) if self.big else ("I", "H", 12)
        if start is None:
            (start,) = struct.unpack_from(self.order + pointer, data, 8 if self.big else 4)
        (count,) = struct.unpack_from(self.order + counter, data, start)
        first = start + struct.calcsize(counter)
        if count > 65_535 or first + count * size > len(data):
            raise IndexError
        entry = struct.Struct(self.order + "HH" + pointer)
        self.entries: dict[int, _Entry] = {}
        value_bytes = 0
        for at in range(first, first + count * size, size):
            tag, kind, n = entry.unpack_from(data, at)
            value_bytes += _TYPE_BYTES.get(kind, 1) * n
            self.entries.setdefault(tag, self._entry(kind, n, at + entry.size, pointer))
        if value_bytes > len(data) + SHARED_BYTES:  # libtiff reads the values of every tag, whoever shares them
            raise DecodeError("damaged", "damaged: the tags of the TIFF have more values than the file has bytes")

    def _entry(self, kind: int, count: int, at: int, pointer: str) -> _Entry:
        length = struct.calcsize("=" + _TYPES.get(kind, "B")) * count
        if length > struct.calcsize("=" + pointer):
            (at,) = struct.unpack_from(self.order + pointer, self._data, at)
        return _Entry(kind, count, at)

    def values(self, tag: int) -> list[float]:
        """The numbers of `tag`; empty where it is missing or no number."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _TYPES or not 0 < entry.count <= MAX_VALUES:
            return []
        return list(struct.unpack_from(f"{self.order}{entry.count}{_TYPES[entry.kind]}", self._data, entry.at))

    def text(self, tag: int, limit: int) -> str:
        """The text of `tag`, at most `limit` bytes of it, in one line; "" where it is missing or no text."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind != _ASCII:
            return ""
        found = self._data[entry.at : entry.at + min(entry.count, limit)].partition(b"\0")[0]
        return " ".join("".join(c if c.isprintable() else " " for c in found.decode("utf-8", "replace")).split())

    def number(self, tag: int, default: int) -> int:
        """The first number of `tag`."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _TYPES or entry.kind in (11, 12) or not entry.count:
            return default
        return int(struct.unpack_from(self.order + _TYPES[entry.kind], self._data, entry.at)[0])


def read(data: bytes) -> Header:
    """The first directory."""
    tags = Directory(data)
    _refuse_raw(data, tags)
    if _WIDTH not in tags.entries or _LENGTH not in tags.entries:
        raise IndexError
    width, height = tags.number(_WIDTH, 0), tags.number(_LENGTH, 0)
    stored, bits = tags.number(_SAMPLES, 1), tags.number(_BITS, 1)
    compression, colours = tags.number(_COMPRESSION, 1), tags.number(_COLOURS, 1)
    form = tags.number(_SAMPLE_FORMAT, 1)
    if form not in (1, 3, 4) or bits > 64 or stored > 64:
        what = "signed numbers" if form == 2 else f"{stored} values a pixel, {bits} bits each, of kind {form}"
        raise DecodeError("unsupported", f"not supported: a TIFF of {what}")
    palette = colours == 3
    memory = _block_pixels(tags, width, height) * (4 + -(-stored * bits // 8))
    if bits == 16 and _MAXIMUM in tags.entries:  # it is decoded to 16 bits and then scaled
        memory += width * height * (1 + 2 * min(stored, 3))
    header = Header(
        "tiff",
        width,
        height,
        valid_orientation(tags.number(_ORIENTATION, 1)),
        samples=3 if palette else 1 if stored == 1 else stored,
        bits=bits,
        codec_bytes=memory,
        second_decoder=_needs_second(bits, form, compression, palette),
    )
    ratio = _RATIO.get(compression)
    if ratio is None or width < 1 or height < 1:
        return header
    ratio *= 2 if colours == _SUBSAMPLED else 1
    return require_data(header, width * height * stored * bits, len(data), ratio)


def _needs_second(bits: int, form: int, compression: int, palette: bool) -> bool:
    """Whether OpenCV does not read it: 2, 4 and 12 bits, 32 bits and more, old-style JPEG, LZMA, Zstandard, ..."""
    odd = bits not in (1, 8, 16) and not (palette and bits in (2, 4))
    return odd or form == 3 or compression not in _READ_BY_OPENCV


def _block_pixels(tags: Directory, width: int, height: int) -> int:
    """Pixels of a strip or a tile, of which libtiff unpacks one at a time."""
    if _TILE_WIDTH in tags.entries:
        return max(0, tags.number(_TILE_WIDTH, 0)) * max(0, tags.number(_TILE_LENGTH, 0))
    return width * min(max(1, tags.number(_ROWS, height)), max(1, height))


def _refuse_raw(data: bytes, tags: Directory) -> None:
    """What a camera wrote for its own program; the first image in it is a small preview."""
    name = "DNG" if _DNG in tags.entries else "CR2" if data[8:10] == b"CR" else ""
    if not name and tags.number(_KIND, 0) & 1 and _INNER in tags.entries:
        name = "NEF, ARW or alike"
    if name:
        raise DecodeError(
            "unsupported", f"not supported: a camera's RAW file ({name}); develop it to JPEG or TIFF first"
        )


def declared_white(data: bytes) -> int | None:
    """The value of white in a 16-bit TIFF that declares fewer bits by tag 281; None where all 16 count."""
    white = Directory(data).values(_MAXIMUM)
    return int(max(white)) if white and 255 < max(white) < 65_535 else None


def declared_range(data: bytes) -> tuple[float, float] | None:
    """SMinSampleValue and SMaxSampleValue of a TIFF of floats."""
    low, high = Directory(data).values(340), Directory(data).values(341)
    return (min(low), max(high)) if low and high and max(high) > min(low) else None


def without_premultiplication(data: bytes) -> bytes:
    """`data` with unassociated alpha declared as associated, so that dropping alpha leaves the colours as they are.

    libtiff multiplies colours by unassociated alpha while it decodes (TIFF 6.0, tag 338 ExtraSamples: 1 associated,
    2 unassociated).
    """
    tags = Directory(data)
    entry = tags.entries.get(_EXTRA)
    if entry is None or entry.kind != 3 or entry.count != 1 or tags.number(_EXTRA, 0) != 2:
        return data
    return data[: entry.at] + struct.pack(tags.order + "H", 1) + data[entry.at + 2 :]
