"""The flatbuffer format, read without a schema: enough to look into TFLite files.

Every offset is checked against the bytes that are there, so a damaged or hostile file ends in `FlatbufferError`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAX_LENGTH = 1 << 24

_TIMES_READ = 4
"""How often the bytes of a file may be read in all: offsets that lead to the same place again and again would take a
time that grows with the square of the file."""


class FlatbufferError(ValueError):
    """The bytes are no flatbuffer, or an offset leads out of them."""


@dataclass(slots=True)
class Allowance:
    """Bytes that may still be read."""

    left: int

    def take(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise FlatbufferError("its offsets lead to the same place again and again")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: fields are addressed by their place in the schema, from 0."""

    data: memoryview
    position: int
    allowance: Allowance

    def integer(self, field: int, kind: str = "I", default: int = 0) -> int:
        """A number; `kind` is its struct letter (b, B, i, I, q, Q)."""
        at = self._field(field)
        return _unpack(self.data, at, kind) if at else default

    def text(self, field: int) -> str:
        """A string, "" where there is none."""
        octets = self.octets(field)
        self.allowance.take(len(octets))
        return bytes(octets).decode("utf-8", "backslashreplace")

    def octets(self, field: int) -> memoryview:
        """A vector of bytes, empty where there is none."""
        at = self._field(field)
        if not at:
            return self.data[:0]
        start, length = self._vector(at)
        if start + length > len(self.data):
            raise FlatbufferError("a vector runs over the end")
        return self.data[start : start + length]

    def numbers(self, field: int, kind: str = "i") -> list[int]:
        """A vector of integers."""
        at = self._field(field)
        if not at:
            return []
        start, length = self._vector(at)
        size = struct.calcsize(kind)
        if length > _MAX_LENGTH or start + length * size > len(self.data):
            raise FlatbufferError("a vector runs over the end")
        self.allowance.take(length * size)
        return list(struct.unpack_from(f"<{length}{kind}", self.data, start))

    def table(self, field: int) -> Table | None:
        """A table within this one."""
        at = self._field(field)
        return self._at(at) if at else None

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        at = self._field(field)
        if not at:
            return []
        start, length = self._vector(at)
        if start + length * 4 > len(self.data):
            raise FlatbufferError("a vector runs over the end")
        self.allowance.take(length * 4)
        return [self._at(place) for place in range(start, start + length * 4, 4)]

    def _at(self, place: int) -> Table:
        return Table(self.data, place + _unpack(self.data, place, "I"), self.allowance)

    def _vector(self, at: int) -> tuple[int, int]:
        place = at + _unpack(self.data, at, "I")
        return place + 4, _unpack(self.data, place, "I")

    def _field(self, field: int) -> int:
        """Where the field's value lies, 0 where the table has none."""
        vtable = self.position - _unpack(self.data, self.position, "i")
        if 4 + 2 * field >= _unpack(self.data, vtable, "H"):
            return 0
        offset = _unpack(self.data, vtable + 4 + 2 * field, "H")
        return self.position + offset if offset else 0


def root(data: memoryview, identifier: bytes) -> Table:
    """The root table of a flatbuffer with the four-byte file `identifier`.

    Raises:
        FlatbufferError: another identifier, or too short.
    """
    if bytes(data[4:8]) != identifier:
        raise FlatbufferError(f"no {identifier.decode()} at its beginning")
    return Table(data, _unpack(data, 0, "I"), Allowance(_TIMES_READ * len(data)))


def _unpack(data: memoryview, at: int, kind: str) -> int:
    if at < 0 or at + struct.calcsize(kind) > len(data):
        raise FlatbufferError("an offset leads out of the file")
    value: int = struct.unpack_from("<" + kind, data, at)[0]
    return value
