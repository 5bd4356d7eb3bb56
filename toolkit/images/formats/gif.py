"""GIF 87a and 89a: the first frame only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from toolkit.images.formats.common import MAX_PIECES, DecodeError, Header, require_data, too_many

LZW_RATIO: Final = 2731
"""The most that GIF's LZW packs: 4,096 pixels in a code of 12 bits."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The first frame.

    Attributes:
        left, top, width, height: its place on the canvas.
        start, end: of its bytes, from the image separator to the end of its data.
        control: the graphic control extension before it, or nothing.
        held: bytes of its packed data.
    """

    left: int
    top: int
    width: int
    height: int
    start: int
    end: int
    control: bytes
    held: int


def read(data: bytes) -> Header:
    """The canvas; its first frame must be there, and its data able to fill it."""
    width, height = struct.unpack_from("<HH", data, 6)
    frame = first_frame(data)
    # A frame that reaches over the canvas makes it larger, as browsers and Pillow have it.
    header = Header("gif", max(width, frame.left + frame.width), max(height, frame.top + frame.height))
    require_data(Header("gif", frame.width, frame.height), frame.width * frame.height * 8, frame.held, LZW_RATIO)
    return header


def first_frame(data: bytes) -> Frame:
    """Go through the blocks up to the first frame and over its data."""
    at = 13 + _table_bytes(data[10])
    control = b""
    for _ in range(MAX_PIECES):
        kind = data[at]
        if kind == 0x21:
            end, _ = _behind_blocks(data, at + 2)
            if data[at + 1] == 0xF9:
                control = data[at:end]
            at = end
        elif kind == 0x2C:
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            end, held = _behind_blocks(data, at + 11 + _table_bytes(flags))
            return Frame(left, top, width, height, at, end, control, held)
        else:
            raise DecodeError("damaged", "damaged: the GIF holds no frame")
    raise too_many("GIF")


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> tuple[int, int]:
    """The position behind a chain of sub-blocks, and the bytes in them."""
    start = at
    for n in range(MAX_PIECES):
        length = data[at]
        at += 1 + length
        if not length:
            return at, at - start - n - 1
    raise too_many("GIF")


def still(data: bytes, frame: Frame) -> bytes:
    """A GIF of nothing but the first frame, on a canvas of the frame's own size and with a background that exists."""
    screen = struct.pack("<HHBBB", frame.width, frame.height, data[10], _background_index(data), 0)
    table = data[13 : 13 + _table_bytes(data[10])]
    image = b"," + struct.pack("<HHHH", 0, 0, frame.width, frame.height) + data[frame.start + 9 : frame.end]
    return data[:6] + screen + table + frame.control + image + b";"


def background(data: bytes) -> tuple[int, int, int]:
    """The colour of the canvas where no frame is; black where the file names none."""
    at = 13 + 3 * _background_index(data)
    return (data[at], data[at + 1], data[at + 2]) if data[10] & 0x80 else (0, 0, 0)


def _background_index(data: bytes) -> int:
    return data[11] if 3 * data[11] < _table_bytes(data[10]) else 0


def ends_early(data: bytes) -> bool:
    """Whether the mark that closes the file is missing."""
    return b";" not in data[-64:]
