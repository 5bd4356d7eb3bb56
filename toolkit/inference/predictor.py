"""A model for Python programs: pictures in, probabilities out, in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.data.walk import Sample, sample
from toolkit.images.decode import MAX_PIXELS, Image
from toolkit.inference.labeller import Labeller
from toolkit.inference.predict import batches
from toolkit.model_files.contract import Contract
from toolkit.sessions.backend import Device, Precision, Runtime
from toolkit.sessions.open_session import open_session
from toolkit.sessions.session import Probabilities, Session

BATCH_SIZE: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What a model says of N pictures.

    Attributes:
        labels: class names, the order of the columns.
        probabilities: float32 (N, K), each row sums to 1; a row of NaN where there is an error.
        errors: for each picture why there is no answer; "" where there is one.
    """

    labels: tuple[str, ...]
    probabilities: Probabilities
    errors: tuple[str, ...]

    @property
    def best(self) -> tuple[str | None, ...]:
        """For each picture the name of the most probable class; None where there is no answer."""
        columns = self.probabilities.argmax(axis=1)
        return tuple(None if error else self.labels[k] for error, k in zip(self.errors, columns, strict=True))


class Model:
    """An open model file; made by `toolkit.load`.

    Attributes:
        contract: what the file promises: labels, input size, colour, resize policy.
        device: where it runs, "cpu" or "cuda".
    """

    def __init__(self, session: Session) -> None:
        self._label = Labeller(session, max_pixels=MAX_PIXELS, batch_size=BATCH_SIZE)
        self.contract: Contract = session.contract
        self.device: str = session.device

    def predict(self, pictures: Iterable[str | os.PathLike[str] | Image]) -> Predictions:
        """Probabilities of pictures, in their order; a picture that cannot be read is an error, not an exception.

        Args:
            pictures: paths, or uint8 arrays of any size: (h, w, 3) in RGB order or (h, w) grey. An array
                (N, h, w, 3) is N pictures.
        """
        if isinstance(pictures, (str, os.PathLike)):
            pictures = [pictures]
        found = [answer for batch in batches(map(_image, pictures), BATCH_SIZE) for answer in self._label(batch)]
        probabilities = np.full((len(found), len(self.contract.labels)), np.nan, np.float32)
        for row, prediction in zip(probabilities, found, strict=True):
            if prediction.probabilities is not None:
                row[:] = prediction.probabilities
        errors = tuple(prediction.error for prediction in found)
        return Predictions(labels=self.contract.labels, probabilities=probabilities, errors=errors)


def _image(picture: str | os.PathLike[str] | Image) -> Sample | Image:
    if isinstance(picture, np.ndarray):
        return picture
    path = os.fspath(picture)
    return sample(path, path)


def load(
    model: str | os.PathLike[str] = "model",
    *,
    device: Device = "auto",
    runtime: Runtime | str = Runtime.AUTO,
    precision: Precision | str = Precision.EXACT,
) -> Model:
    """Open a bundle (its `model.onnx`), a `.onnx` or a `.tflite` file.

    Raises:
        UsageError: device, runtime and precision do not exist, or do not go together.
        ModelError: no such model, or one without a contract.
        MachineError: CUDA or bfloat16 was asked for and is not usable; a missing extra.
    """
    return Model(open_session(Path(model), device=device, runtime=runtime, precision=precision))
