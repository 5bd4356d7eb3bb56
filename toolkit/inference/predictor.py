"""A model for Python programs: pictures in, probabilities out, in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.data.walk import sample
from toolkit.images.decode import DecodeError, Image, decode, fit
from toolkit.inference.labeller import ReadError, read
from toolkit.inference.session import Device, Precision, Probabilities, Runtime, Session, open_session
from toolkit.model_files.contract import Contract

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


class Model:
    """An open model file; made by `toolkit.load`.

    Attributes:
        contract: what the file promises: labels, input size, colour, resize policy.
        device: where it runs, "cpu" or "cuda".
    """

    def __init__(self, session: Session) -> None:
        self._session = session
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
        errors: list[str] = []
        parts: list[Probabilities] = []
        batch: list[Image | None] = []
        for picture in pictures:
            try:
                batch.append(self._pixels(picture))
                errors.append("")
            except (DecodeError, ReadError) as error:
                batch.append(None)
                errors.append(str(error))
            if len(batch) == BATCH_SIZE:
                parts.append(self._run(batch))
                batch = []
        parts.append(self._run(batch))
        return Predictions(labels=self.contract.labels, probabilities=np.concatenate(parts), errors=tuple(errors))

    def _pixels(self, picture: str | os.PathLike[str] | Image) -> Image:
        if isinstance(picture, np.ndarray):
            return fit(picture, self.contract.preprocess)
        path = os.fspath(picture)
        return decode(read(sample(path, path))[1], self.contract.preprocess)

    def _run(self, batch: list[Image | None]) -> Probabilities:
        probabilities = np.full((len(batch), len(self.contract.labels)), np.nan, np.float32)
        good = [i for i, pixels in enumerate(batch) if pixels is not None]
        if good:
            probabilities[good] = self._session.run(np.stack([pixels for pixels in batch if pixels is not None]))
        return probabilities


def load(
    model: str | os.PathLike[str] = "model",
    *,
    device: Device = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "exact",
) -> Model:
    """Open a bundle (its `model.onnx`), a `.onnx` or a `.tflite` file.

    Raises:
        UsageError: device, runtime and precision do not go together.
        ModelError: no such model, or one without a contract.
        MachineError: CUDA or bfloat16 was asked for and is not usable; a missing extra.
    """
    return Model(open_session(Path(model), device=device, runtime=runtime, precision=precision))
