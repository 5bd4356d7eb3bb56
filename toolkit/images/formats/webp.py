"""WebP (RFC 9649): still images, and the first frame of animations."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.images.formats.common import MAX_PIECES, DecodeError, Header, exif_orientation, too_many


@dataclass(frozen=True, slots=True)
class Frame:
    """The first frame of an animation: its place on the canvas, and it alone as a WebP file."""

    left: int
    top: int
    width: int
    height: int
    file: bytes


def read(data: bytes) -> Header:
    """VP8X, VP8L or VP8 in the first chunk; EXIF may follow the image."""
    kind = data[12:16]
    if kind != b"VP8X":
        width, height, alpha = _stored_size(data, 12)
        return Header("webp", width, height, samples=4 if alpha else 3)
    if len(data) < 30:
        raise IndexError
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    orientation, alpha, animated = 1, False, False
    for name, at, length in _chunks(data, 12, len(data)):
        if name == b"EXIF":
            orientation = exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\x00\x00"))
        elif name in (b"VP8 ", b"VP8L") and not animated:
            stored = _stored_size(data, at)
            if stored[:2] != (width, height):
                raise DecodeError("damaged", "damaged: the WEBP's image is of another size than its canvas")
            alpha = alpha or stored[2]
        elif name == b"ANMF":
            animated = True
        alpha = alpha or name == b"ALPH"
    return Header("webp", width, height, orientation, samples=4 if alpha or animated else 3)


def _stored_size(data: bytes, at: int) -> tuple[int, int, bool]:
    """Width, height and alpha of the bitstream in the chunk at `at`."""
    if data[at : at + 4] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, at + 9)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", data, at + 14)
    return width & 0x3FFF, height & 0x3FFF, False


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(MAX_PIECES):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at, length
        at += 8 + length + (length & 1)
    raise too_many("WEBP")


def exif(data: bytes) -> bytes:
    """The chunk EXIF; b"" where there is none."""
    return next((data[at + 8 : at + 8 + n] for name, at, n in _chunks(data, 12, len(data)) if name == b"EXIF"), b"")


def first_frame(data: bytes) -> Frame | None:
    """The first frame; None where the file is not an animation."""
    if data[12:16] != b"VP8X":
        return None
    frames = ((at, length) for kind, at, length in _chunks(data, 12, len(data)) if kind == b"ANMF")
    at, length = next(frames, (0, 0))
    if not at:
        return None
    end = at + 8 + length
    if end > len(data):
        raise DecodeError("truncated", "truncated: the WEBP ends within its first frame")
    left, top, width, height = (int.from_bytes(data[at + i : at + i + 3], "little") for i in (8, 11, 14, 17))
    width, height = width + 1, height + 1
    parts = [(name, data[p : p + 8 + n + (n & 1)]) for name, p, n in _chunks(data, at + 24, end)]
    image = [part for name, part in parts if name in (b"ALPH", b"VP8 ", b"VP8L")]
    if not image or _stored_size(image[-1], 0)[:2] != (width, height):
        raise DecodeError("damaged", "damaged: the WEBP's first frame holds no image of its size")
    body = b"".join(image)
    if len(image) > 1:  # alpha beside the colours needs the extended header
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"VP8X" + struct.pack("<I", 10) + bytes([0x10, 0, 0, 0]) + size + body
    file = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    return Frame(2 * left, 2 * top, width, height, file.ljust(32, b"\0"))


def ends_early(data: bytes) -> bool:
    """Whether bytes are missing that its header announces."""
    return len(data) < int.from_bytes(data[4:8], "little")
