"""Images -> predictions, a batch at a time.

Workers share nothing but the session: each reads, decodes and runs whole batches by itself, into a buffer of its own.
On small machines this beats decoders that feed one runner through a queue, and where one device serves all workers
the others decode while one runs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from toolkit.data.read import ReadError
from toolkit.data.remote.ahead import ReadAhead
from toolkit.data.walk import Sample
from toolkit.images.decode import DecodeError, Image, decode, fit
from toolkit.images.exif import Exif, read_exif
from toolkit.images.header import read_header
from toolkit.images.limits import Limits
from toolkit.sessions.session import Probabilities, Session

NO_NUMBER: Final = "the model gave no number for this image"

IN_MEMORY: Final = Sample(path="", name="", size=-1, mtime_ns=0)
"""Stands for an image that comes from no file."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image.

    Attributes:
        sample: the file, with the size and time of the bytes that were read; size -1 where none could be.
        probabilities: float32 (K,), sums to 1; None where there is an error, or where a detector saw nothing.
        error: why there is no answer; "" where there is one, or where there is nothing to answer.
        exif: what the camera wrote; None where it was not asked for or the file could not be read.
    """

    sample: Sample
    probabilities: Probabilities | None
    error: str = ""
    exif: Exif | None = None


class Labeller:
    """Reads, decodes and runs batches; may be called from many threads.

    Args:
        session: an open session that may be shared between threads.
        limits: how large an image may be, and what decoding it may cost.
        batch_size: the most samples that a call is given.
        ahead: reads what is remote; of a call's samples those that nobody has begun to read are begun at once.
        run_size: the most images that the session is given at once; None: all of a call's.
        exif: whether EXIF data are read.
        even: run a lone image twice: some networks give it another last digit than the same image among others, and
            who is alone depends on how the inputs are cut into runs, shards and parts.
    """

    def __init__(
        self,
        session: Session,
        *,
        limits: Limits,
        batch_size: int,
        run_size: int | None = None,
        exif: bool = False,
        even: bool = False,
    ) -> None:
        self._session = session
        self._exif = exif
        self._spec = session.contract.preprocess
        self.limits = limits
        self.batch_size = batch_size
        self.may_fork = session.may_fork and session.device == "cpu"
        self.run_size = run_size or batch_size
        self._even = even and self.run_size > 1
        self.ahead = ReadAhead()
        self._local = threading.local()

    def __call__(self, images: Sequence[Sample | Image | bytes]) -> list[Prediction]:
        """One prediction for each of `images` (files, their bytes, or uint8 arrays of any size), in their order."""
        self.ahead.begin(images)
        buffer = self._buffer()
        n = 0
        found: list[Prediction] = []
        for image in images:
            one = self._one(image, buffer[n])
            n += _has_pixels(one)
            found.append(one)
        answers = iter(self._answers(buffer[:n]))
        return [_answered(one, *next(answers)) if _has_pixels(one) else one for one in found]

    def _one(self, image: Sample | Image | bytes, into: Image) -> Prediction:
        if isinstance(image, np.ndarray):
            return self._fitted(image, into)
        return self._unpacked(image, into) if isinstance(image, bytes) else self._decoded(image, into)

    def _unpacked(self, data: bytes, into: Image) -> Prediction:
        """As `_decoded`, of a file that is in memory."""
        sample = IN_MEMORY._replace(size=len(data))
        try:
            exif = read_exif(data) if self._exif else None
            into[:] = decode(data, self._spec, limits=self.limits)
        except DecodeError as error:
            return Prediction(sample, None, error.message)
        return Prediction(sample, None, "", exif)

    def _fitted(self, image: Image, into: Image) -> Prediction:
        try:
            into[:] = fit(image, self._spec)
        except DecodeError as error:
            return Prediction(IN_MEMORY, None, error.message)
        return Prediction(IN_MEMORY, None)

    def _decoded(self, sample: Sample, into: Image) -> Prediction:
        """Read a file, and write what is to be labelled of it into `into`; nothing where a detector saw nothing."""
        exif, detection = None, sample.detection
        if detection is not None and detection.problem:
            return Prediction(sample._replace(size=-1, mtime_ns=0, detection=None), None, detection.problem)
        try:
            with self.limits.unread(sample.size):
                sample, data = self.ahead.take(sample)
                exif = read_exif(data) if self._exif else None
                if detection is None:
                    into[:] = decode(data, self._spec, limits=self.limits)
                elif detection.box is not None:
                    into[:] = decode(data, self._spec, limits=self.limits, box=detection.box)
                else:
                    read_header(data, self.limits.max_pixels)
        except DecodeError as error:
            return Prediction(sample, None, error.message, exif)
        except ReadError as error:
            return Prediction(sample._replace(size=-1, mtime_ns=0), None, error.message)
        return Prediction(sample, None, "", exif)

    def _answers(self, images_u8: Image) -> list[tuple[Probabilities | None, str]]:
        """Probabilities of decoded images, or why there are none."""
        if not len(images_u8):
            return []
        starts = range(0, len(images_u8), self.run_size)
        rows = np.concatenate([self._run(images_u8[start : start + self.run_size]) for start in starts])
        finite = np.isfinite(rows).all(axis=1).tolist()
        return [(row, "") if usable else (None, NO_NUMBER) for row, usable in zip(rows, finite, strict=True)]

    def _run(self, images_u8: Image) -> Probabilities:
        if self._even and len(images_u8) == 1:
            return self._session.run(np.repeat(images_u8, 2, axis=0))[:1]
        return self._session.run(images_u8)

    def _buffer(self) -> Image:
        buffer: Image | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = np.empty((self.batch_size, *self._spec.shape), np.uint8)
        return buffer


def _has_pixels(one: Prediction) -> bool:
    """Whether what is to be labelled was decoded."""
    detection = one.sample.detection
    return not one.error and (detection is None or detection.box is not None)


def _answered(one: Prediction, probabilities: Probabilities | None, error: str) -> Prediction:
    return Prediction(one.sample, probabilities, error, one.exif)
