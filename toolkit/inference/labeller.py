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

from toolkit.data.read import ReadError, read
from toolkit.data.walk import Sample
from toolkit.images.decode import DecodeError, Image, decode, fit
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
        probabilities: float32 (K,), sums to 1; None where there is an error.
        error: why there is no answer; "" where there is one.
    """

    sample: Sample
    probabilities: Probabilities | None
    error: str = ""


class Labeller:
    """Reads, decodes and runs batches; may be called from many threads.

    Args:
        session: an open session that may be shared between threads.
        limits: how large an image may be, and what decoding it may cost.
        batch_size: the most samples that a call is given.
        run_size: the most images that the session is given at once; None: all of a call's.
    """

    def __init__(self, session: Session, *, limits: Limits, batch_size: int, run_size: int | None = None) -> None:
        self._session = session
        self._spec = session.contract.preprocess
        self.limits = limits
        self.batch_size = batch_size
        self.may_fork = session.may_fork and session.device == "cpu"
        self.run_size = run_size or batch_size
        self._local = threading.local()

    def __call__(self, images: Sequence[Sample | Image]) -> list[Prediction]:
        """One prediction for each of `images` (files, or uint8 arrays of any size), in their order."""
        buffer = self._buffer()
        n = 0
        found: list[Prediction | Sample] = []
        for image in images:
            sample = IN_MEMORY if isinstance(image, np.ndarray) else image
            try:
                if isinstance(image, np.ndarray):
                    buffer[n] = fit(image, self._spec)
                else:
                    with self.limits.unread(image.size):
                        sample, data = read(image)
                        buffer[n] = decode(data, self._spec, limits=self.limits)
                n += 1
                found.append(sample)
            except DecodeError as error:
                found.append(Prediction(sample, None, error.message))
            except ReadError as error:
                found.append(Prediction(sample._replace(size=-1, mtime_ns=0), None, error.message))
        answers = iter(self._answers(buffer[:n]))
        return [item if isinstance(item, Prediction) else Prediction(item, *next(answers)) for item in found]

    def _answers(self, images_u8: Image) -> list[tuple[Probabilities | None, str]]:
        """Probabilities of decoded images, or why there are none."""
        if not len(images_u8):
            return []
        starts = range(0, len(images_u8), self.run_size)
        rows = np.concatenate([self._session.run(images_u8[start : start + self.run_size]) for start in starts])
        finite = np.isfinite(rows).all(axis=1).tolist()
        return [(row, "") if usable else (None, NO_NUMBER) for row, usable in zip(rows, finite, strict=True)]

    def _buffer(self) -> Image:
        buffer: Image | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = np.empty((self.batch_size, *self._spec.shape), np.uint8)
        return buffer
