"""AV1: how large a frame is, from the sequence header alone (AV1 Bitstream & Decoding Process, 5.3 to 5.5)."""

from __future__ import annotations

from typing import Final

MAX_UNITS: Final = 256
"""Of an item, which is one image and has a handful."""

_SEQUENCE_HEADER: Final = 1
_SEQUENCE_BYTES: Final = 256


class _Bits:
    """Bits of a few bytes, the highest first; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, n: int) -> int:
        """The next `n` as a number."""
        self._left -= n
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << n) - 1

    def take_exp_golomb(self) -> None:
        """Pass over a number of variable length (uvlc)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


def av1_size(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """(width, height) of the largest frame that any sequence header allows.

    None where there is no such header, or more units than an image has.

    Args:
        data: the whole file.
        at, end: where an item stands: open bitstream units (OBUs), one behind the other.
    """
    largest: tuple[int, int] | None = None
    try:
        for _ in range(MAX_UNITS):
            if at >= end:
                return largest
            head = data[at]
            at += 2 if head & 4 else 1
            length, shift = 0, 0
            if not head & 2:
                length = end - at
            while head & 2:
                byte = data[at]
                at += 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            if head >> 3 & 15 == _SEQUENCE_HEADER:
                found = _sequence(_Bits(data[at : min(at + length, at + _SEQUENCE_BYTES)]))
                largest = max(largest or found, found, key=lambda size: size[0] * size[1])
            at += length
    except IndexError:
        return largest
    return None


def _sequence(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, still image
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        _operating_points(bits, *_timing(bits))
    n_width, n_height = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(n_width) + 1, bits.take(n_height) + 1


def _timing(bits: _Bits) -> tuple[bool, int]:
    """Whether there is a decoder model, and how many bits its delays have."""
    if not bits.take(1):
        return False, 0
    bits.take(64)
    if bits.take(1):
        bits.take_exp_golomb()
    if not bits.take(1):
        return False, 0
    n_delay = bits.take(5) + 1
    bits.take(42)
    return True, n_delay


def _operating_points(bits: _Bits, model: bool, n_delay: int) -> None:
    delayed = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if model and bits.take(1):
            bits.take(2 * n_delay + 1)
        if delayed and bits.take(1):
            bits.take(4)
