"""Formats of which only the header is read here; Pillow, behind the extra `formats`, reads their pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from toolkit.images.formats.common import DecodeError, Header, require_data
from toolkit.images.formats.iso_media import box, boxes

_SIZ: Final = b"\xff\x4f\xff\x51"
"""JPEG 2000: start of the codestream and its size marker."""

_TILE_BYTES, _TILE_COMPONENT_BYTES = 6_000, 2_200
"""JPEG 2000: what the codec notes down of each tile before it decodes one, and of each component in it."""


def sniff(data: bytes) -> str | None:
    """The format that `data` begins like, of those that Pillow reads."""
    if data.startswith((b"\x00\x00\x00\x0cjP  ", _SIZ)):
        return "jpeg2000"
    if data.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "jpegxl"
    if data.startswith(b"8BPS\x00\x01"):
        return "psd"
    if data.startswith(b"qoif"):
        return "qoi"
    if data.startswith(b"\x00\x00\x01\x00") and len(data) > 22 and data[9] == 0 and 0 < data[4] + 256 * data[5] < 256:
        return "ico"
    return "tga" if _is_tga(data) else None


def _is_tga(data: bytes) -> bool:
    """TGA has no magic number: every field of its header must make sense."""
    if len(data) < 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11) or data[17] & 0xC0:
        return False
    mapped = data[2] in (1, 9)
    depths = (8,) if data[2] in (1, 3, 9, 11) else (15, 16, 24, 32)
    if data[16] not in depths or (mapped and (data[1] != 1 or data[7] not in (15, 16, 24, 32))):
        return False
    return (mapped or data[1] == 1 or not any(data[3:8])) and any(data[12:14]) and any(data[14:16])


def read(data: bytes) -> Header:
    """The header of one of these formats."""
    kind = sniff(data)
    assert kind is not None
    return _READERS[kind](data)


def _jpeg2000(data: bytes) -> Header:
    at = 0 if data.startswith(_SIZ) else box(data, 0, len(data), b"jp2c")[0] + 8
    if data[at : at + 4] != _SIZ:
        raise IndexError
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", data, at + 8)
    (n,) = struct.unpack_from(">H", data, at + 40)
    bits = (data[at + 42] & 127) + 1
    width, height = right - left, bottom - top
    if not tile_width or not tile_height:
        raise DecodeError("damaged", "damaged: the JPEG 2000 has tiles without pixels")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    memory = 4 * n * width * height + tiles * (_TILE_BYTES + n * _TILE_COMPONENT_BYTES)
    return Header("jpeg2000", width, height, samples=n, bits=bits, codec_bytes=memory)


def _jpegxl(data: bytes) -> Header:
    """ISO/IEC 18181-1, SizeHeader; the codestream stands alone or in a box `jxlc` or `jxlp`."""
    stream = jpegxl_stream(data)
    if not stream.startswith(b"\xff\x0a"):
        raise IndexError
    bits, left = int.from_bytes(stream[2:18], "little"), 128

    def take(n: int) -> int:
        nonlocal bits, left
        left -= n
        value, bits = bits & (1 << n) - 1, bits >> n
        return value

    def side() -> int:
        return 1 + take((9, 13, 18, 30)[take(2)])

    small = take(1)
    height = 8 * (1 + take(5)) if small else side()
    ratio = take(3)
    fractions = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    fraction = fractions[ratio]
    width = height * fraction[0] // fraction[1] if fraction else 8 * (1 + take(5)) if small else side()
    return Header("jpegxl", width, height, codec_bytes=24 * width * height)


def jpegxl_stream(data: bytes) -> bytes:
    """The codestream of a JPEG XL file, without the boxes beside it, which a decoder would unpack as well."""
    if data.startswith(b"\xff\x0a"):
        return data
    parts = [(kind, start, end) for kind, start, end in boxes(data, 0, len(data)) if kind in (b"jxlc", b"jxlp")]
    # A part begins with its number.
    return b"".join(data[start + (8 if kind == b"jxlc" else 12) : end] for kind, start, end in parts)


def _psd(data: bytes) -> Header:
    n, height, width, bits, mode = struct.unpack_from(">HIIHH", data, 12)
    if bits not in (1, 8) or mode not in (0, 1, 2, 3, 4):
        raise DecodeError("unsupported", f"not supported: a Photoshop file of {bits} bits in colour mode {mode}")
    return require_data(Header("psd", width, height, samples=n), width * height * min(n, 3) * bits, len(data), 64)


def _qoi(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 4)
    return require_data(Header("qoi", width, height, samples=data[12]), width * height * 8, len(data), 62)


def _tga(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 12)
    packed = data[2] >= 9
    samples = 1 if data[2] in (3, 11) else 3
    return require_data(
        Header("tga", width, height, samples=samples), width * height * data[16], len(data), 128 if packed else 1
    )


def _ico(data: bytes) -> Header:
    image = ico_image(data)
    if image.startswith(b"\x89PNG"):
        width, height = struct.unpack_from(">II", image, 16)
    else:
        width, height = struct.unpack_from("<ii", image, 18)
    return Header("ico", width, abs(height))


def ico_image(data: bytes) -> bytes:
    """The largest image of an icon, as a PNG or BMP file; its mask, which is a kind of alpha, is left out."""
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [struct.unpack_from("<BBBBHHII", data, 6 + 16 * i) for i in range(count)]
    largest = max(entries, key=lambda e: ((e[0] or 256) * (e[1] or 256), e[5]))
    size, start = largest[6], largest[7]
    image = data[start : start + size]
    if len(image) < size or size < 40:
        raise DecodeError("truncated", "truncated: the ICO ends before its largest image does")
    if image.startswith(b"\x89PNG"):
        return image
    head, width, height, planes, bits, compression = struct.unpack_from("<IiiHHI", image)
    if head != 40 or compression != 0 or bits not in (1, 4, 8, 24, 32):
        raise DecodeError("unsupported", "not supported: an ICO of a rare kind")
    (colours,) = struct.unpack_from("<I", image, 32)
    palette = 4 * (colours or 1 << bits) if bits <= 8 else 0
    fixed = struct.pack("<IiiHHI", head, width, height // 2, planes, bits, 0) + image[20:]
    return b"BM" + struct.pack("<IHHI", 14 + len(image), 0, 0, 14 + head + palette) + fixed


_READERS: Final[dict[str, Callable[[bytes], Header]]] = {
    "jpeg2000": _jpeg2000,
    "jpegxl": _jpegxl,
    "psd": _psd,
    "qoi": _qoi,
    "tga": _tga,
    "ico": _ico,
}
