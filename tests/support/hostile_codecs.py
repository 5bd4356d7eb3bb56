"""Small image files that ask for much inside a codec, by tables, scans, tags or tiles; their canvas looks harmless."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Final

from support.hostile_images import (
    Tag,
    flat_isobmff,
    gif,
    gif_pixels,
    isobmff_that_lies,
    jpeg_head,
    jpeg_scan,
    png,
    png_chunk,
    tiff,
    tiff_tags,
)


def arithmetic_progressive_jpeg(side: int, scans: int) -> bytes:
    """Scans of ten bytes, each of which goes through every block: what is missing counts as zeros."""
    scan = jpeg_scan((1,), 1, 63, b"")
    return jpeg_head(side, 0xCA) + jpeg_scan((1,), 0, 0, b"") + scan * scans + b"\xff\xd9"


def jpeg_with_segments_after_the_frame(n_bytes: int) -> bytes:
    """A progressive JPEG whose first scan comes behind `n_bytes` of segments and rubbish, after its frame."""
    segments = b"\xff\xfe\x00\x08abcdef" * min(9_000, n_bytes // 10)
    return (
        jpeg_head(64, 0xC2) + segments + bytes(n_bytes - len(segments)) + jpeg_scan((1,), 0, 0, bytes(8)) + b"\xff\xd9"
    )


def png_for_the_second_decoder() -> bytes:
    """A flat PNG, one bit a pixel, wider than OpenCV reads."""
    width, height = 12_000_000, 16
    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png(width, height, 1, 0, [png_chunk(b"IDAT", packed)])


def gif_with_more_data_than_frame(side: int, n_pixels: int) -> bytes:
    """LZW data of `n_pixels` for a frame of `side`x`side`."""
    return gif(side, side, (0, 0, side, side), gif_pixels(n_pixels))


def gif_with_a_frame_beside_its_canvas(side: int) -> bytes:
    """A frame that is a pixel smaller than its canvas, so that both are held."""
    return gif(side, side, (0, 0, side - 1, side), gif_pixels(side * (side - 1)))


class Bits:
    """A stream of bits, the lowest of a byte first (VP8L)."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._value = self._n = 0

    def put(self, value: int, n: int) -> None:
        """The lowest `n` bits of `value`."""
        self._value |= value << self._n
        self._n += n
        while self._n >= 8:
            self._bytes.append(self._value & 255)
            self._value >>= 8
            self._n -= 8

    def done(self) -> bytes:
        """All of it, in whole bytes."""
        return bytes(self._bytes) + bytes([self._value & 255]) + bytes(8)


_ORDER: Final = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


def _equal_code(bits: Bits, length: int) -> None:
    """A code of 2**length symbols, all of `length` bits; to say so takes no bit for a symbol."""
    at = _ORDER.index(length)
    bits.put(0, 1)
    bits.put(at + 1 - 4, 4)
    bits.put(1 << 3 * at, 3 * (at + 1))
    bits.put(1, 1)
    n = -(-length // 2) * 2
    bits.put((n - 2) // 2, 3)
    bits.put((1 << length) - 2, n)


def _single_code(bits: Bits) -> None:
    bits.put(1, 4)  # simple, one symbol, of one bit: 0


def webp_with_many_codes(side: int) -> bytes:
    """A lossless WebP with a set of five prefix codes for every 4x4 pixels, up to 65,536 sets."""
    bits = Bits()
    bits.put((side - 1) | (side - 1) << 14, 32)
    bits.put(0, 1)  # no transform
    bits.put(0, 1)  # no colour cache
    bits.put(1, 1)  # which set each block of 4x4 uses: an image of its own
    bits.put(0, 3)
    bits.put(0, 1)
    for _ in range(2):  # green, red
        _equal_code(bits, 8)
    for _ in range(3):
        _single_code(bits)
    n = (-(-side // 4)) ** 2
    reverse = [int(f"{i:08b}"[::-1], 2) for i in range(256)]
    for i in range(n):
        bits.put(reverse[i & 255] | reverse[i >> 8 & 255] << 8, 16)
    for _ in range(min(n, 65_536)):
        for _ in range(5):
            _single_code(bits)
    body = b"\x2f" + bits.done()
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff_with_tags_on_one_place(n_tags: int, n_bytes: int) -> bytes:
    """`n_tags` private tags, all with the same `n_bytes` of values."""
    tags = tiff_tags(16, held=256)
    return tiff([*tags, *((40_000 + i, 1, n_bytes, 8) for i in range(n_tags))], bytes(n_bytes))


def tiff_fax(side: int, rows: int) -> bytes:
    """A white page of one bit a pixel, fax group 4: a bit for each row."""
    strips = -(-side // rows)
    data = b"\xff" * (rows // 8 + 8)
    data += bytes(-len(data) % 4)
    offsets = struct.pack(f"<{strips}I", *[8] * strips) + struct.pack(f"<{strips}I", *[len(data)] * strips)
    place = 8 + len(data)
    many = strips > 1
    tags = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 1), (259, 3, 1, 4), (262, 3, 1, 0),
        (273, 4, strips, place if many else 8), (277, 3, 1, 1), (278, 4, 1, rows),
        (279, 4, strips, place + 4 * strips if many else len(data)),
    ]  # fmt: skip
    return tiff(tags, data + offsets)


def deflated_tiff(side: int, *, bits: int, samples: int = 1, more: Iterable[Tag] = ()) -> bytes:
    """A flat TIFF in strips of 16 rows, deflate, with `more` tags."""
    packer = zlib.compressobj(9)
    strip = packer.compress(bytes(bits // 8 * samples * side * 16)) + packer.flush()
    strip += bytes(-len(strip) % 4)
    n = -(-side // 16)
    place = 8 + n * len(strip)
    arrays = struct.pack(f"<{n}I", *range(8, place, len(strip))) + struct.pack(f"<{n}I", *[len(strip)] * n)
    tags = tiff_tags(side, bits=bits, compression=8, samples=samples)
    changed = {273: (273, 4, n, place), 278: (278, 4, 1, 16), 279: (279, 4, n, place + 4 * n)}
    return tiff([*(changed.get(tag[0], tag) for tag in tags), *more], strip * n + arrays)


def tiff_of_floats(side: int) -> bytes:
    """32-bit floats."""
    return deflated_tiff(side, bits=32, more=[(339, 3, 1, 3)])


def tiff_of_12_bits_in_16(side: int, samples: int = 1) -> bytes:
    """16 bits whose white is 4,095."""
    return deflated_tiff(side, bits=16, samples=samples, more=[(281, 3, 1, 4095)])


def jpeg2000_with_many_tiles(side: int, tile: int, components: int) -> bytes:
    """The head of a codestream of `side`x`side` pixels in tiles of `tile`x`tile`."""
    size = struct.pack(">HIIIIIIIIH", 0, side, side, 0, 0, tile, tile, 0, 0, components) + b"\x07\x01\x01" * components
    coding = bytes([0, 0]) + struct.pack(">H", 1) + bytes([0, 0, 4, 4, 0, 1])
    quantisation = bytes([0x40, 0x40])
    parts = ((0x51, size), (0x52, coding), (0x5C, quantisation))
    head = b"\xff\x4f" + b"".join(struct.pack(">BBH", 0xFF, m, len(body) + 2) + body for m, body in parts)
    return head + b"\xff\x90\x00\x0a" + struct.pack(">HIBB", 0, 14, 0, 1) + b"\xff\x93\xff\xd9"


def jp2_with_a_false_size(stream: bytes) -> bytes:
    """A JP2 whose boxes hold the text of a small size marker before the codestream."""
    small = jpeg2000_with_many_tiles(16, 16, 3)

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    head = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    image = box(b"ihdr", struct.pack(">IIHBBBB", 16, 16, 3, 7, 7, 0, 0)) + box(
        b"colr", struct.pack(">BBBI", 1, 0, 0, 16)
    )
    return head + box(b"uuid", bytes(16) + small) + box(b"jp2h", image) + box(b"jp2c", stream)


def _avif_with(item: Callable[[bytes], bytes], data: bytes) -> bytes:
    """`data`, an AVIF, with its image replaced by what `item` makes of it, at the end of the file."""
    start = data.find(b"mdat") + 4
    whole = item(data[start:])
    entry = struct.pack(">II", start, len(data) - start)
    assert entry in data
    data = data.replace(entry, struct.pack(">II", len(data) + 8, len(whole)))
    return data + struct.pack(">I", 8 + len(whole)) + b"mdat" + whole


def avif_behind_padding(side: int) -> bytes:
    """An AVIF whose `ispe` says 16x16 and whose sequence header stands behind 400 bytes of padding."""
    padding = bytes([15 << 3 | 2, 0x90, 0x03]) + b"\x80" * 400
    return _avif_with(lambda item: padding + item, isobmff_that_lies("AVIF", side))


def avif_of_two_sizes(side: int) -> bytes:
    """An AVIF of 64x64 whose image is followed by one of `side`x`side` in the same item."""
    large = flat_isobmff("AVIF", side)
    return _avif_with(lambda item: item + large[large.find(b"mdat") + 4 :], flat_isobmff("AVIF", 64))
