"""Samples -> probabilities, a batch at a time.

Workers share nothing but the session: each reads, decodes and runs whole batches by itself, into a buffer of its own.
On small machines this beats decoders that feed one runner through a queue, and where one device serves all workers
the others decode while one runs.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass
from typing import Final

import numpy as np

from toolkit.data.walk import Sample
from toolkit.images.decode import DecodeError, Image, decode
from toolkit.inference.session import Probabilities, Session

MAX_FILE_BYTES: Final = 1 << 30
"""Larger files are no photos; they are refused before they are read."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one batch came to.

    Attributes:
        samples: the samples, with the size and time of the bytes that were read; size -1 where none could be.
        probabilities: float32 (N, K); zeros where there is an error.
        errors: for each sample why it has no label; "" where it has one.
    """

    samples: list[Sample]
    probabilities: Probabilities
    errors: list[str]


class ReadError(Exception):
    """A file could not be read to its end. It may succeed another time."""


class Labeller:
    """Reads, decodes and runs batches; may be called from many threads.

    Args:
        session: an open session that may be shared between threads.
        max_pixels: larger pictures are refused.
        batch_size: the most samples that a call is given.
        run_size: the most pictures that the session is given at once; None: all of a call's.
    """

    def __init__(self, session: Session, *, max_pixels: int, batch_size: int, run_size: int | None = None) -> None:
        self._session = session
        self._spec = session.contract.preprocess
        self._n_classes = len(session.contract.labels)
        self._max_pixels = max_pixels
        self.batch_size = batch_size
        self.may_fork = session.may_fork and session.device == "cpu"
        self._run_size = run_size or batch_size
        self._local = threading.local()

    def __call__(self, samples: list[Sample]) -> BatchResult:
        """Label one batch."""
        buffer = self._buffer()
        seen: list[Sample] = []
        errors = [""] * len(samples)
        rows: list[int] = []
        for i, sample in enumerate(samples):
            try:
                sample, data = read(sample)  # noqa: PLW2901
                buffer[len(rows)] = decode(data, self._spec, max_pixels=self._max_pixels)
                rows.append(i)
            except DecodeError as error:
                errors[i] = error.message
            except ReadError as error:
                sample = sample._replace(size=-1, mtime_ns=0)  # noqa: PLW2901
                errors[i] = str(error)
            seen.append(sample)
        probabilities = np.zeros((len(samples), self._n_classes), np.float32)
        if rows:
            parts = range(0, len(rows), self._run_size)
            ready = buffer[: len(rows)]
            probabilities[rows] = np.concatenate([self._session.run(ready[i : i + self._run_size]) for i in parts])
            for i in np.flatnonzero(~np.isfinite(probabilities).all(axis=1)).tolist():
                probabilities[i] = 0
                errors[i] = "the model gave no number for this picture"
        return BatchResult(seen, probabilities, errors)

    def _buffer(self) -> Image:
        buffer: Image | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = np.empty((self.batch_size, *self._spec.shape), np.uint8)
        return buffer


def read(sample: Sample) -> tuple[Sample, bytes]:
    """All bytes of a file, and the sample with the size and time that belong to exactly these bytes.

    Raises:
        ReadError: it is missing, no regular file, may not be read, or does not stop changing.
        DecodeError: it is larger than `MAX_FILE_BYTES`.
    """
    try:
        handle = os.open(sample.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {_reason(error)}") from None
    try:
        before = (sample.size, sample.mtime_ns)
        for _ in range(3):
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
                raise ReadError(f"cannot be read: expected a file, found {kind}")
            data = _read_all(handle, max(before[0], 0))
            status = os.fstat(handle)
            after = (status.st_size, status.st_mtime_ns)
            if after == before and len(data) == after[0]:
                return (sample if sample.size >= 0 else sample._replace(size=after[0], mtime_ns=after[1])), data
            if status.st_size > MAX_FILE_BYTES:
                raise DecodeError("too_large", f"too large: {status.st_size:,} bytes in one file")
            before = after
            sample = sample._replace(size=after[0], mtime_ns=after[1])
            os.lseek(handle, 0, os.SEEK_SET)
        raise ReadError("cannot be read: it changed again and again while it was read")
    except OSError as error:
        raise ReadError(f"cannot be read: {_reason(error)}") from None
    finally:
        os.close(handle)


def _read_all(handle: int, expected: int) -> bytes:
    """Up to one byte more than `expected`, so that a file that grows is noticed."""
    if expected > MAX_FILE_BYTES:
        return b""
    data = os.read(handle, expected + 1)
    while 0 < len(data) <= expected and (more := os.read(handle, expected + 1 - len(data))):
        data += more
    return data


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
