"""What the readers of all formats share."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from toolkit.core.errors import InputError

MAX_PIXELS: Final = 200_000_000
"""Images of more pixels than this are refused from their header, before memory is taken."""

MAX_PIECES: Final = 1_000_000
"""Segments, chunks or blocks that a reader follows; no encoder writes as many."""


class DecodeError(InputError):
    """The bytes are not an image that can be used.

    Attributes:
        kind: "empty", "not_an_image", "truncated", "damaged", "too_large" or "unsupported".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Header(NamedTuple):
    """The header of one image.

    Attributes:
        format: a key of `header.SUFFIXES`, such as "jpeg".
        width, height: pixels as stored, before the orientation is applied.
        orientation: EXIF orientation 1..8; 1 where none is given.
        samples: stored values a pixel: 1 where it is grey, 4 with alpha or CMYK; 3 also for a palette.
        bits: of a stored value.
        codec_bytes: memory that the codec takes besides the pixels: coefficients, strips, layers.
        codec_seconds: a rough time that the codec takes besides that for the pixels, for many scans.
        second_decoder: whether OpenCV does not read this kind, or reads it wrongly.
        more: whether the file holds more than one image's pixels, which OpenCV would unpack too.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    samples: int = 3
    bits: int = 8
    codec_bytes: int = 0
    codec_seconds: float = 0.0
    second_decoder: bool = False
    more: bool = False

    @property
    def pixels(self) -> int:
        """width x height."""
        return self.width * self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def require_data(header: Header, needed_bits: int, held: int, ratio: float) -> Header:
    """`header`, if `held` bytes at the format's best `ratio` can fill what it declares.

    Args:
        needed_bits: what the declared image has, unpacked.
        held: bytes of packed data in the file.
        ratio: the most bytes that one packed byte can become.

    Raises:
        DecodeError: they cannot.
    """
    if needed_bits > held * ratio * 8:
        raise DecodeError(
            "truncated",
            f"truncated: the {header.format.upper()} declares {header.width}x{header.height} pixels, "
            f"more than its {held:,} bytes of data can hold",
        )
    return header


def too_many(name: str, allowed: int = MAX_PIECES) -> DecodeError:
    """The error for a file of more than `allowed` pieces."""
    return DecodeError("damaged", f"damaged: the {name} has more than {allowed:,} pieces")


def exif_orientation(exif: bytes) -> int:
    """EXIF 2.32, tag 0x0112 of the first directory; 1 where it is missing or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, n, value = struct.unpack_from(order + "HHIH", exif, at)
            if tag == 0x0112 and n == 1 and kind in (3, 4):
                if kind == 4:
                    (value,) = struct.unpack_from(order + "I", exif, at + 8)
                return valid_orientation(value)
    except struct.error:
        pass
    return 1


def valid_orientation(value: int) -> int:
    """`value` where it is an orientation, else 1."""
    return value if 1 <= value <= 8 else 1
