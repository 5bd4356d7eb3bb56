"""What the first bytes of an image file say: format, size, orientation. No pixel is decoded here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from toolkit.images.formats import bitmap, gif, iso_media, jpeg, others, png, tiff, webp
from toolkit.images.formats.common import MAX_PIXELS, DecodeError, Header

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "RAW_SUFFIXES",
    "SNIFF_BYTES",
    "SUFFIXES",
    "DecodeError",
    "Header",
    "ends_early",
    "read_header",
    "sniff",
]

SUFFIXES: Final[dict[str, frozenset[str]]] = {
    "jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}),
    "png": frozenset({".png", ".apng"}),
    "gif": frozenset({".gif"}),
    "bmp": frozenset({".bmp", ".dib"}),
    "webp": frozenset({".webp"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "avif": frozenset({".avif"}),
    "pnm": frozenset({".ppm", ".pgm", ".pbm", ".pnm"}),
    "ico": frozenset({".ico"}),
    "heif": frozenset({".heic", ".heif", ".hif"}),
    "jpeg2000": frozenset({".jp2", ".j2k", ".jpx", ".j2c", ".jpf"}),
    "jpegxl": frozenset({".jxl"}),
    "tga": frozenset({".tga"}),
    "psd": frozenset({".psd"}),
    "qoi": frozenset({".qoi"}),
}
"""Format -> the suffixes (lower case) that name it truly."""

RAW_SUFFIXES: Final = frozenset(
    f".{name}" for name in ("3fr", "arw", "cr2", "cr3", "dng", "erf", "iiq", "kdc", "mef", "mos", "mrw", "nef", "nrw")
) | {".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"}
"""Suffixes of cameras' RAW files, which are images that no decoder here reads."""

FORMATS: Final[dict[str, str]] = {
    "heif": "HEIF",
    "jpeg2000": "JPEG 2000",
    "jpegxl": "JPEG XL",
    "psd": "Photoshop",
}
"""Format -> its name for people, where that is not the key in capitals."""

SNIFF_BYTES: Final = 32
"""How many of a file's first bytes `sniff` reads."""


def sniff(data: bytes) -> str | None:
    """The format that `data` begins like, None where it begins like no image we know.

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
    if data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "tiff"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "pnm"
    if data[:2] == b"BM" and len(data) >= 18 and data[14:18] in bitmap.BMP_HEADER_SIZES:
        return "bmp"
    return iso_media.brand(data) or others.sniff(data)


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of the image in `data`, the bytes of the whole file.

    Raises:
        DecodeError: empty, not an image, cut off within the header, over `max_pixels`, or of fewer bytes than the
            declared size can be packed into.
    """
    if not data:
        raise DecodeError("empty", "the file is empty (0 bytes)")
    kind = sniff(data)
    if kind is None:
        raise not_an_image(data)
    try:
        header = _READERS[kind](data, max_pixels)
    except (struct.error, IndexError, OverflowError):
        raise DecodeError("truncated", f"truncated: the {_name(kind)} ends within its header") from None
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise DecodeError("damaged", f"damaged: the {_name(kind)} says it is {width}x{height} pixels")
    if width * height > max_pixels:
        text = f"too large: {width}x{height} is more than {max_pixels:,} pixels (see --max-pixels)"
        raise DecodeError("too_large", text)
    return header


def _name(kind: str) -> str:
    return FORMATS.get(kind, kind.upper())


def ends_early(data: bytes, kind: str) -> bool:
    """Whether a file of format `kind` lacks its end: the mark that closes it, or bytes that its header announces."""
    judge = _ENDS.get(kind)
    return judge is not None and judge(data)


_READERS: Final[dict[str, Callable[[bytes, int], Header]]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "gif": lambda data, _: gif.read(data),
    "bmp": lambda data, _: bitmap.read_bmp(data),
    "webp": lambda data, _: webp.read(data),
    "tiff": lambda data, _: tiff.read(data),
    "avif": lambda data, _: iso_media.read(data),
    "heif": lambda data, _: iso_media.read(data),
    "pnm": lambda data, _: bitmap.read_pnm(data),
    **dict.fromkeys(("ico", "jpeg2000", "jpegxl", "tga", "psd", "qoi"), lambda data, _: others.read(data)),
}
"""Format -> its reader, which is told the most pixels that are allowed: of a larger image nothing more is looked at."""

_ENDS: Final[dict[str, Callable[[bytes], bool]]] = {
    "jpeg": jpeg.ends_early,
    "png": png.ends_early,
    "gif": gif.ends_early,
    "bmp": bitmap.bmp_ends_early,
    "webp": webp.ends_early,
}

_KNOWN: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\xd0\xcf\x11\xe0", "an OLE file such as Thumbs.db"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"{", "text (JSON)"),
)

_RAW: Final[tuple[tuple[int, bytes, str], ...]] = (
    (4, b"ftypcrx ", "CR3"),
    (0, b"FUJIFILMCCD-RAW", "RAF"),
    (0, b"IIU\x00", "RW2"),
    (0, b"IIRO", "ORF"),
    (0, b"IIRS", "ORF"),
    (0, b"MMOR", "ORF"),
    (0, b"FOVb", "X3F"),
    (0, b"\x00MRM", "MRW"),
)
"""Position, bytes and name of the RAW formats that are not TIFF."""


def not_an_image(data: bytes) -> DecodeError:
    """The error for bytes that begin like no image we know: it says what they are like."""
    for at, magic, name in _RAW:
        if data[at : at + len(magic)] == magic:
            return DecodeError(
                "unsupported", f"not supported: a camera's RAW file ({name}); develop it to JPEG or TIFF first"
            )
    return DecodeError("not_an_image", f"not an image: {_describe(data)}")


def _describe(data: bytes) -> str:
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    lowered = start[:64].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if lowered.startswith((b"<svg", b"<?xml")):
        return "XML or SVG text"
    if data[4:8] == b"ftyp":
        return f"a video or another file of boxes ({data[8:12].decode('ascii', 'replace')})"
    for magic, name in _KNOWN:
        if start.startswith(magic):
            return name
    if not data.strip(b"\x00"):
        return "nothing but zero bytes"
    if all(byte >= 32 or byte in b"\t\r\n\x0c" for byte in data[:256]):
        return "text"
    return f"unknown data that begins with {data[:8].hex(' ')}"
