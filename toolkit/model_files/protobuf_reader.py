"""The protobuf wire format, read without a schema: enough to look into a SavedModel without TensorFlow.

Nothing is allocated by what a file declares: every length is checked against the bytes that are there.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview


class WireError(ValueError):
    """The bytes are no protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of one message in order: (field number, integer or the bytes of a string, message or packed list).

    >>> [(number, bytes(value)) for number, value in fields(memoryview(bytes([0x0A, 2, 0x68, 0x69])))]
    [(1, b'hi')]

    Raises:
        WireError: a field runs over the end, or has a type that protobuf does not know.
    """
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("field number 0")
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise WireError(f"field {number} has type {kind}")
        if position + length > end:
            raise WireError(f"field {number} runs over the end")
        yield number, message[position : position + length]
        position += length


def submessages(message: memoryview, *path: int) -> Iterator[memoryview]:
    """All messages (or strings) at the end of `path`, a chain of field numbers.

    >>> [bytes(m) for m in submessages(memoryview(bytes([0x12, 4, 0x0A, 2, 0x68, 0x69])), 2, 1)]
    [b'hi']
    """
    for number, value in fields(message):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from submessages(value, *path[1:])


def text(message: memoryview, number: int) -> str:
    """The last string in field `number`, "" where there is none."""
    found = ""
    for at, value in fields(message):
        if at == number and isinstance(value, memoryview):
            found = bytes(value).decode("utf-8", "backslashreplace")
    return found


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise WireError("a number runs over the end")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number of more than ten bytes")
