"""What the first bytes of a picture file say: format, size, orientation. No pixel is decoded here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from toolkit.core.errors import InputError

MAX_PIXELS: Final = 200_000_000
"""Pictures of more pixels than this are refused from their header, before memory is taken."""


class DecodeError(InputError):
    """The bytes are no picture that can be used.

    Attributes:
        kind: "empty", "not_an_image", "truncated", "damaged", "too_large" or "unsupported".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one picture.

    Attributes:
        format: "jpeg", "png", "gif", "bmp", "webp", "tiff", "avif" or "pnm".
        width, height: pixels as stored, before the orientation is applied.
        orientation: EXIF orientation 1..8; 1 where none is given.
    """

    format: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


SUFFIXES: Final[dict[str, frozenset[str]]] = {
    "jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif"}),
    "png": frozenset({".png"}),
    "gif": frozenset({".gif"}),
    "bmp": frozenset({".bmp", ".dib"}),
    "webp": frozenset({".webp"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "avif": frozenset({".avif"}),
    "pnm": frozenset({".ppm", ".pgm", ".pbm", ".pnm"}),
}
"""Format -> the suffixes (lower case) that name it truly."""

SNIFF_BYTES: Final = 32
"""How many of a file's first bytes `sniff` looks at."""


def sniff(data: bytes) -> str | None:
    """The format that `data` begins like, None where it begins like no picture we read.

    >>> sniff(b"\\x89PNG\\r\\n\\x1a\\n...")
    'png'
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "avif"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "pnm"
    if data[:2] == b"BM" and len(data) >= 18 and data[14:18] in _BMP_HEADER_SIZES:
        return "bmp"
    return None


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of the picture in `data`, the bytes of the whole file.

    Raises:
        DecodeError: empty, not a picture, cut off within the header, or over `max_pixels`.
    """
    if not data:
        raise DecodeError("empty", "the file is empty (0 bytes)")
    kind = sniff(data)
    if kind is None:
        raise DecodeError("not_an_image", f"not an image: {describe(data)}")
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError):
        raise DecodeError("truncated", f"truncated: the {kind.upper()} ends within its header") from None
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise DecodeError("damaged", f"damaged: the {kind.upper()} says it is {width}x{height} pixels")
    if width * height > max_pixels:
        text = f"too large: {width}x{height} is more than {max_pixels:,} pixels (see --max-pixels)"
        raise DecodeError("too_large", text)
    return header


_BMP_HEADER_SIZES: Final = tuple(struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124))

_KNOWN: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\xd0\xcf\x11\xe0", "an OLE file such as Thumbs.db"),
    (b"\x1f\x8b", "gzip data"),
    (b"8BPS", "a Photoshop file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"{", "text (JSON)"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 picture, which is not supported"),
)


def describe(data: bytes) -> str:
    """What `data`, no picture we read, looks like, in a few words for an error message."""
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    lowered = start[:64].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if lowered.startswith((b"<svg", b"<?xml")):
        return "XML or SVG text"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"heim", b"hevc"):
        return "a HEIC picture, which is not supported; convert it to JPEG"
    for magic, name in _KNOWN:
        if start.startswith(magic):
            return name
    if not data.strip(b"\x00"):
        return "nothing but zero bytes"
    if all(byte >= 32 or byte in b"\t\r\n\x0c" for byte in data[:256]):
        return "text"
    return f"unknown data that begins with {data[:8].hex(' ')}"


def _jpeg(data: bytes) -> Header:
    """ITU-T T.81, Annex B: markers up to the first frame header (SOF)."""
    orientation, at = 1, 2
    while True:
        while data[at] != 0xFF:
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9 or marker == 0xDA:
            raise DecodeError("damaged", "damaged: the JPEG has no frame header before its data")
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            return Header("jpeg", width, height, orientation)
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\x00\x00":
            orientation = _exif_orientation(data[at + 8 : at + length])
        at += length


def _png(data: bytes) -> Header:
    """PNG (ISO/IEC 15948): IHDR comes first; an eXIf chunk may stand before the pixels."""
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR":
        raise DecodeError("damaged", "damaged: the PNG does not begin with IHDR")
    return Header("png", width, height, _png_orientation(data))


def _png_orientation(data: bytes) -> int:
    at = 33
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            return _exif_orientation(data[at + 8 : at + 8 + length])
        if kind in (b"IDAT", b"IEND"):
            break
        at += 12 + length
    return 1


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("gif", width, height)


def ends_early(data: bytes, kind: str) -> bool:
    """Whether a file of format `kind` lacks its end: the mark that closes it, or bytes that its header announces."""
    tail = data[-64:]
    if kind in ("webp", "bmp"):
        (announced,) = struct.unpack_from("<I", data, 4 if kind == "webp" else 2)
        return len(data) < int(announced)
    if kind in ("tiff", "avif", "pnm"):
        return False
    return {"jpeg": b"\xff\xd9", "png": b"IEND", "gif": b";"}[kind] not in tail


def without_premultiplication(tiff: bytes) -> bytes:
    """`tiff` with unassociated alpha declared as associated, so that dropping alpha leaves the colours as they are.

    libtiff multiplies colours by unassociated alpha while it decodes (TIFF 6.0, tag 338 ExtraSamples: 1 associated,
    2 unassociated).
    """
    at = _ifd_entries(tiff).get(338)
    order = _BYTE_ORDER[tiff[:2]]
    if at is None or struct.unpack_from(order + "HIH", tiff, at + 2) != (3, 1, 2):
        return tiff
    return tiff[: at + 8] + struct.pack(order + "H", 1) + tiff[at + 10 :]


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("bmp", abs(width), abs(height))


def _webp(data: bytes) -> Header:
    """WebP container (RFC 9649): VP8X, VP8L or VP8 in the first chunk; EXIF may follow the picture."""
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        if len(data) < 30:
            raise IndexError
        return Header("webp", width, height, _webp_orientation(data))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("webp", width & 0x3FFF, height & 0x3FFF)


def _webp_orientation(data: bytes) -> int:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\x00\x00"))
        at += 8 + length + (length & 1)
    return 1


def _tiff(data: bytes) -> Header:
    tags = _ifd(data)
    if 256 not in tags or 257 not in tags:
        raise IndexError
    return Header("tiff", tags[256], tags[257], _valid_orientation(tags.get(274, 1)))


def _pnm(data: bytes) -> Header:
    """Netpbm: width and height are the first two numbers after the magic; comments begin with #."""
    numbers: list[int] = []
    at = 2
    while len(numbers) < 2:
        while data[at : at + 1].isspace():
            at += 1
        if data[at] == ord("#"):
            at = data.index(b"\n", at) if b"\n" in data[at:] else len(data)
            continue
        end = at
        while data[end : end + 1].isdigit():
            end += 1
        if end == at or end - at > 9:
            raise DecodeError("damaged", "damaged: the PNM header holds no size")
        numbers.append(int(data[at:end]))
        at = end
    return Header("pnm", numbers[0], numbers[1])


def _avif(data: bytes) -> Header:
    """ISO/IEC 23008-12: the largest `ispe` property is the picture's, `irot` and `imir` turn it."""
    meta = _box(data, b"meta")
    sizes = [struct.unpack_from(">II", meta, at + 8) for at in _positions(meta, b"ispe")]
    if not sizes:
        raise IndexError
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    rotation = [meta[at + 4] & 3 for at in _positions(meta, b"irot")] or [0]
    mirror = [meta[at + 4] & 1 for at in _positions(meta, b"imir")] or [-1]
    return Header("avif", width, height, _AVIF_ORIENTATION[mirror[0]][rotation[0]])


_AVIF_ORIENTATION: Final = {-1: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}
"""`imir` axis (-1: no mirror) -> EXIF orientation by `irot` (quarter turns against the clock)."""


def _box(data: bytes, kind: bytes) -> bytes:
    """The first top-level box of `kind` in an ISO base media file (ISO/IEC 14496-12)."""
    at = 0
    while True:
        size, found = struct.unpack_from(">I4s", data, at)
        if found == kind:
            return data[at : at + size]
        if size < 8:
            raise IndexError
        at += size


def _positions(data: bytes, needle: bytes) -> list[int]:
    found, at = [], data.find(needle)
    while at >= 0:
        found.append(at)
        at = data.find(needle, at + 4)
    return found


def _exif_orientation(exif: bytes) -> int:
    """EXIF 2.32, tag 0x0112 of the first IFD; 1 where it is missing or damaged."""
    try:
        tags = _ifd(exif)
    except (struct.error, IndexError):
        return 1
    return _valid_orientation(tags.get(274, 1))


def _valid_orientation(value: int) -> int:
    return value if 1 <= value <= 8 else 1


_BYTE_ORDER: Final = {b"II": "<", b"MM": ">"}


def _ifd(data: bytes) -> dict[int, int]:
    """Integer tags of the first IFD of a TIFF structure (TIFF 6.0, section 2)."""
    order = _BYTE_ORDER.get(data[:2], "<")
    tags: dict[int, int] = {}
    for tag, at in _ifd_entries(data).items():
        kind, n = struct.unpack_from(order + "HI", data, at + 2)
        if n == 1 and kind in (3, 4):
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
    return tags


def _ifd_entries(data: bytes) -> dict[int, int]:
    """Tag -> position of its 12-byte entry in the first IFD; empty where `data` is no TIFF structure."""
    order = _BYTE_ORDER.get(data[:2])
    if order is None:
        return {}
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    positions = (start + 2 + 12 * i for i in range(count))
    return {struct.unpack_from(order + "H", data, at)[0]: at for at in positions}


_READERS: Final[dict[str, Callable[[bytes], Header]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "bmp": _bmp,
    "webp": _webp,
    "tiff": _tiff,
    "avif": _avif,
    "pnm": _pnm,
}
