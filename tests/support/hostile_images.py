"""Image files that are small and ask for much: formats x tricks, made from nothing but their specifications.

Each is made on demand and is the same on every machine. `LARGE` is the canvas most of them declare: just within the
default `--max-pixels`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Final

LARGE: Final = 14_000
"""Side of the canvas: 196 megapixels."""


def png_chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    """One chunk; `length` is what it declares, where that is a lie."""
    declared = len(body) if length is None else length
    return struct.pack(">I", declared) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, chunks: Iterable[bytes], interlace: int = 0) -> bytes:
    """A PNG of these chunks behind its IHDR."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def flat_png(side: int, bits: int, colour: int, *, before: bytes = b"", interlace: int = 0) -> bytes:
    """A legal PNG of `side`x`side` zero samples."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-side * samples * bits // 8))
    packed = b"".join(packer.compress(row) for _ in range(side + (side if interlace else 0))) + packer.flush()
    palette = [png_chunk(b"PLTE", bytes(range(6)))] if colour == 3 else []
    return png(side, side, bits, colour, [*palette, before, png_chunk(b"IDAT", packed)], interlace)


def png_that_declares_more() -> bytes:
    """91 bytes that declare 196 megapixels."""
    return png(LARGE, LARGE, 8, 2, [png_chunk(b"IDAT", zlib.compress(bytes(64)))])


def png_with_a_chunk_length_of_4_gb() -> bytes:
    """The length of a chunk behind IHDR is 0xffffffff."""
    return png(
        64, 64, 8, 2, [png_chunk(b"tEXt", b"a\0b", 0xFFFFFFFF), png_chunk(b"IDAT", zlib.compress(bytes(64 * 193)))]
    )


def png_with_text_bombs() -> bytes:
    """A thousand compressed texts of 8 MB each."""
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(7_900_000), 9))
    return png(8, 8, 8, 2, [*[text] * 900, png_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))])


def apng(side: int, frames: int) -> bytes:
    """A legal animation of flat RGBA frames of the whole canvas."""

    def control(number: int) -> bytes:
        return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))

    packer = zlib.compressobj(9)
    row = bytes(1 + 4 * side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    chunks = [png_chunk(b"acTL", struct.pack(">II", frames, 0)), control(0), png_chunk(b"IDAT", packed)]
    for i in range(1, frames):
        chunks += [control(2 * i - 1), png_chunk(b"fdAT", struct.pack(">I", 2 * i) + packed)]
    return png(side, side, 8, 6, chunks)


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _huffman(number: int, symbols: bytes) -> bytes:
    """A table of up to 255 symbols; a single one has the code 0."""
    lengths = [0] * 16
    if len(symbols) == 1:
        lengths[0] = 1
    else:
        lengths[7] = len(symbols)
    return _jpeg_segment(0xC4, bytes([number, *lengths]) + symbols)


def jpeg_head(side: int, frame: int = 0xC0, components: int = 1, before: bytes = b"") -> bytes:
    """Everything up to the first scan: one quantisation table of ones, tables with one symbol."""
    parts = b"".join(bytes([i + 1, 0x11, 0]) for i in range(components))
    size = struct.pack(">BHHB", 8, side, side, components) + parts
    tables = _huffman(0x00, b"\0") + _huffman(0x10, b"\0")
    return b"\xff\xd8" + before + _jpeg_segment(0xDB, b"\0" + bytes([1] * 64)) + _jpeg_segment(frame, size) + tables


def jpeg_scan(components: Iterable[int], first: int, last: int, bits: bytes) -> bytes:
    """One scan of spectral coefficients `first`..`last`."""
    ids = b"".join(bytes([i, 0]) for i in components)
    return _jpeg_segment(0xDA, bytes([len(ids) // 2]) + ids + bytes([first, last, 0])) + bits


def flat_jpeg(side: int, components: int = 1) -> bytes:
    """A legal baseline JPEG, two bits a block."""
    blocks = (-(-side // 8)) ** 2 * components
    return (
        jpeg_head(side, 0xC0, components)
        + jpeg_scan(range(1, components + 1), 0, 63, bytes(-(-blocks // 4)))
        + b"\xff\xd9"
    )


def jpeg_that_declares_more() -> bytes:
    """196 megapixels in three components, and no data."""
    return jpeg_head(LARGE, 0xC0, 3) + jpeg_scan((1, 2, 3), 0, 63, bytes(200)) + b"\xff\xd9"


def jpeg_with_a_pseudo_segment() -> bytes:
    """`FF 00` before the frame: no marker for a decoder; a reader that takes it for one skips the true frame.

    What it would skip to is a small frame; the true one has 3.6 gigapixels.
    """
    true = jpeg_head(60_000)
    small = jpeg_head(16)[2:]
    pseudo = b"\xff\x00" + struct.pack(">H", len(true))
    return true[:2] + pseudo + true[2:] + small + jpeg_scan((1,), 0, 63, bytes(4_000_000)) + b"\xff\xd9"


def jpeg_with_stuffed_bytes() -> bytes:
    """14 MB of `FF 00` before the frame."""
    return flat_jpeg(64)[:2] + b"\xff\x00" * 7_000_000 + flat_jpeg(64)[2:]


def jpeg_with_tiny_segments() -> bytes:
    """14 MB of empty segments before the frame."""
    return flat_jpeg(64)[:2] + b"\xff\xe5\x00\x02" * 3_500_000 + flat_jpeg(64)[2:]


def progressive_jpeg(side: int, scans: int) -> bytes:
    """A legal progressive JPEG with `scans` scans of nothing but ends of bands."""
    blocks = (-(-side // 8)) ** 2
    first = jpeg_scan((1,), 0, 0, bytes(-(-blocks // 8)))
    # One code, 0, for a run of 2^14 blocks and 14 more bits; all ones make it 32,767.
    code = "0" + "1" * 14
    bits = (code * -(-blocks // 32767)).ljust(16, "1")
    packed = bytes(int(bits[i : i + 8].ljust(8, "1"), 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    band = _huffman(0x10, b"\xe0") + jpeg_scan((1,), 1, 63, packed)
    return jpeg_head(side, 0xC2) + first + band * scans + b"\xff\xd9"


def arithmetic_jpeg() -> bytes:
    """Arithmetic coding: a flat image needs hardly a byte."""
    return jpeg_head(LARGE, 0xC9) + jpeg_scan((1,), 0, 63, bytes(64)) + b"\xff\xd9"


def gif(width: int, height: int, frame: tuple[int, int, int, int], data: bytes, *, background: int = 0) -> bytes:
    """A GIF with two colours (red, green) and one frame (left, top, width, height)."""
    screen = struct.pack("<HHBBB", width, height, 0x80, background, 0) + bytes([255, 0, 0, 0, 255, 0])
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", *frame, 0) + data + b";"


def gif_pixels(n_pixels: int) -> bytes:
    """LZW data of `n_pixels` zeros, as dense as it gets."""
    codes: list[tuple[int, int]] = [(4, 3)]
    width, table, run, left = 3, 6, 1, n_pixels
    first = True
    while left > 0:
        take = 1 if first else min(run, left)
        code = 0 if take == 1 else 6 + take - 2
        codes.append((code, width))
        left -= take
        if not first and table < 4096:
            table += 1
        first = False
        run = table - 6 + 2 if table < 4096 else 4096 - 6 + 1
        if table == 1 << width and width < 12:
            width += 1
    codes.append((5, width))
    value = shift = 0
    packed = bytearray()
    for code, n_bits in codes:
        value |= code << shift
        shift += n_bits
        while shift >= 8:
            packed.append(value & 255)
            value >>= 8
            shift -= 8
    packed.append(value & 255)
    blocks = (bytes(packed[i : i + 255]) for i in range(0, len(packed), 255))
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif_with_a_large_canvas() -> bytes:
    """68 bytes: one red pixel in 196 megapixels of background."""
    return gif(LARGE, LARGE, (0, 0, 1, 1), gif_pixels(1))


def flat_gif(side: int) -> bytes:
    """A legal GIF, red."""
    return gif(side, side, (0, 0, side, side), gif_pixels(side * side))


def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    """A BMP with a palette where it needs one."""
    palette = b"".join(bytes([i, i, i, 0]) for i in range(1 << bits)) if bits <= 8 else b""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(palette) + len(data), 0, 0, 54 + len(palette)) + info + palette + data


def bmp_rle() -> bytes:
    """1,080 bytes: run lengths that end after two of 196 megapixels."""
    return bmp(LARGE, LARGE, 8, 1, b"\x02\x07\x00\x01")


Tag = tuple[int, int, int, int]
"""A TIFF tag, its type, its count and its value or offset."""


def tiff(tags: Iterable[Tag], data: bytes) -> bytes:
    """A little-endian TIFF: header, `data` at offset 8, then one directory in the given order."""
    entries = b"".join(
        struct.pack("<HHI", tag, kind, count)
        + struct.pack(
            "<HH" if kind == 3 and count == 1 else "<I", *([value, 0] if kind == 3 and count == 1 else [value])
        )
        for tag, kind, count, value in tags
    )
    n = len(entries) // 12
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", n) + entries + bytes(4)


def tiff_tags(side: int, *, bits: int = 8, compression: int = 1, samples: int = 1, held: int = 0) -> list[Tag]:
    """One strip at offset 8, grey or RGB."""
    return [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, bits), (259, 3, 1, compression),
        (262, 3, 1, 2 if samples >= 3 else 1), (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, side),
        (279, 4, 1, held),
    ]  # fmt: skip


def tiff_with_duplicated_tags() -> bytes:
    """The first WIDTH and LENGTH are 30,000, the later ones 16: libtiff takes the first."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(30_000 * 10)) for _ in range(3000)) + packer.flush()
    tags = tiff_tags(30_000, compression=8, held=len(packed))
    return tiff([*tags[:2], (256, 4, 1, 16), (257, 4, 1, 16), *tags[2:]], packed)


def flat_tiff(side: int, samples: int) -> bytes:
    """A legal TIFF, one strip, deflate."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(side * samples)) for _ in range(side)) + packer.flush()
    return tiff(tiff_tags(side, compression=8, samples=samples, held=len(packed)), packed)


def tiff_that_declares_more(compression: int) -> bytes:
    """196 megapixels of RGB in 100 bytes."""
    return tiff(tiff_tags(LARGE, compression=compression, samples=3, held=100), bytes(100))


def tiff_with_a_giant_tile() -> bytes:
    """16x16 pixels in one tile of 30,000x30,000."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
            (322, 4, 1, 30_000 - 30_000 % 16), (323, 4, 1, 30_000 - 30_000 % 16), (324, 4, 1, 8),
            (325, 4, 1, 64)]  # fmt: skip
    return tiff(tags, bytes(64))


def tiff_with_many_samples() -> bytes:
    """A pixel of 65,535 samples."""
    return tiff(tiff_tags(2_000, compression=8, samples=65_535, held=100), zlib.compress(bytes(9000)))


def webp_lossless(width: int, height: int) -> bytes:
    """34 bytes: every pixel of one colour, for which VP8L needs no bit."""
    bits = (width - 1) | (height - 1) << 14
    value, at = 0, 0
    # No transform, no colour cache, no meta prefix; five codes with one symbol each (simple code, 1 symbol, 1 bit: 0).
    for field, n_bits in ((bits, 28), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1), *[(1, 4)] * 5):
        value |= field << at
        at += n_bits
    body = b"\x2f" + value.to_bytes(-(-at // 8) + 5, "little")  # OpenCV wants 32 bytes in all
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp_animation(side: int, frames: int) -> bytes:
    """A legal animation of flat frames of the whole canvas."""
    still = webp_lossless(side, side)[12:]
    size = (side - 1).to_bytes(3, "little") * 2
    frame = bytes(6) + size + bytes([10, 0, 0, 0]) + still
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + size
    chunks += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def webp_canvas_that_lies() -> bytes:
    """A canvas of 16x16 around an image of 196 megapixels."""
    size = (15).to_bytes(3, "little") * 2
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size + webp_lossless(LARGE, LARGE)[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def pnm_with_comments(n_lines: int) -> bytes:
    """A legal PGM behind `n_lines` lines of comment."""
    return b"P5\n" + b"#\n" * n_lines + b"4 4\n255\n" + bytes(16)


def pnm_comment_that_ends_in_a_return() -> bytes:
    """A carriage return ends a comment for the decoder: 3.6 gigapixels, not 5x5."""
    return b"P5\n#\r60000 60000\n5 5\n255\n" + bytes(3_000)


def isobmff_that_lies(kind: str, side: int) -> bytes:
    """An AVIF or HEIF of `side`x`side` flat pixels whose `ispe` boxes say 16x16."""
    data = flat_isobmff(kind, side)
    at = data.find(b"ispe")
    while at >= 0:
        data = data[: at + 8] + struct.pack(">II", 16, 16) + data[at + 16 :]
        at = data.find(b"ispe", at + 4)
    return data


def flat_isobmff(kind: str, side: int) -> bytes:
    """A legal AVIF or HEIF."""
    import pillow_heif
    from PIL import Image

    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (10, 200, 30)).save(buffer, kind, **({"speed": 10} if kind == "AVIF" else {}))
    return buffer.getvalue()
