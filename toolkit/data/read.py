"""The one guarded read: the bytes of a file that may be anything."""

from __future__ import annotations

import os
import stat
from typing import Final

from toolkit.core.errors import InputError
from toolkit.data.remote.urls import is_remote
from toolkit.data.walk import Sample
from toolkit.images.header import DecodeError, not_an_image, sniff

MAX_FILE_BYTES: Final = 1 << 30
"""Larger files are not photos; they are refused before they are read."""

SNIFF_FIRST_BYTES: Final = 4 << 20
"""A larger file is read only if its first bytes are those of an image."""

_HEAD_BYTES: Final = 512

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class ReadError(InputError):
    """A file could not be read to its end. It may succeed another time."""


def read(sample: Sample) -> tuple[Sample, bytes]:
    """All bytes of a file, and the sample with the size and time that belong to exactly these bytes.

    It never waits (for the writer of a pipe) and never reads without end (a device): only a regular file is read.

    Raises:
        ReadError: it is missing, no regular file, may not be read, or does not stop changing.
        DecodeError: it is larger than `MAX_FILE_BYTES`, or large and no image by its first bytes.
    """
    if is_remote(sample.path):
        from toolkit.data.remote.fetch import read_remote

        return read_remote(sample)
    try:
        handle = os.open(sample.path, _FLAGS)
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {_reason(error)}") from None
    try:
        before = (sample.size, sample.mtime_ns)
        for _ in range(3):
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
                raise ReadError(f"cannot be read: expected a file, found {kind}")
            if status.st_size > SNIFF_FIRST_BYTES:
                _refuse_unless_image(handle, status.st_size)
            data = _read_all(handle, max(before[0], 0))
            status = os.fstat(handle)
            after = (status.st_size, status.st_mtime_ns)
            if after == before and len(data) == after[0]:
                return (sample if sample.size >= 0 else sample._replace(size=after[0], mtime_ns=after[1])), data
            before = after
            sample = sample._replace(size=after[0], mtime_ns=after[1])
            os.lseek(handle, 0, os.SEEK_SET)
        raise ReadError("cannot be read: it changed again and again while it was read")
    except OSError as error:
        raise ReadError(f"cannot be read: {_reason(error)}") from None
    finally:
        os.close(handle)


def read_file(path: str) -> bytes:
    """All bytes of the file at `path`.

    Raises:
        ReadError, DecodeError: as `read`.
    """
    if is_remote(path):
        return read(Sample(path, "", -1, 0))[1]
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {_reason(error)}") from None
    return read(Sample(path, "", status.st_size, status.st_mtime_ns))[1]


def _refuse_unless_image(handle: int, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise DecodeError("too_large", f"too large: {size:,} bytes in one file")
    head = os.read(handle, _HEAD_BYTES)
    os.lseek(handle, 0, os.SEEK_SET)
    if sniff(head) is None:
        raise not_an_image(head)


def _read_all(handle: int, expected: int) -> bytes:
    """Up to one byte more than `expected`, so that a file that grows is noticed."""
    if expected > MAX_FILE_BYTES:
        return b""
    data = os.read(handle, expected + 1)
    while 0 < len(data) < expected and (more := os.read(handle, expected + 1 - len(data))):
        data += more
    return data


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
