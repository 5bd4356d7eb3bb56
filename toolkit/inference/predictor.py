"""A model for Python programs: images in, probabilities out, in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from toolkit.core.errors import UsageError
from toolkit.core.text import first_line
from toolkit.data.walk import Sample, sample
from toolkit.images.decode import Image
from toolkit.images.limits import Limits
from toolkit.inference.labeller import IN_MEMORY, Labeller, Prediction
from toolkit.inference.predict import batches
from toolkit.model_files.contract import Contract
from toolkit.sessions.backend import Device, Precision, Runtime
from toolkit.sessions.open_session import open_session
from toolkit.sessions.session import Probabilities, Session

if TYPE_CHECKING:
    from PIL.Image import Image as Pillow

BATCH_SIZE: Final = 32

ImageLike: TypeAlias = "str | os.PathLike[str] | Image | Pillow"
"""What `Model.predict` takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model says of one image.

    Attributes:
        label: the name of the most probable class; None where there is no answer.
        confidence: its probability, 0..1; NaN where there is no answer.
        probabilities: float32 (K,), in the order of the model's labels; NaN where there is no answer.
        error: why there is no answer; "" where there is one.
    """

    label: str | None
    confidence: float
    probabilities: Probabilities
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What a model says of N images. Iterating gives an `Answer` for each, in their order.

    Attributes:
        labels: class names, the order of the columns.
        probabilities: float32 (N, K), each row sums to 1; a row of NaN where there is an error.
        errors: for each image why there is no answer; "" where there is one.
    """

    labels: tuple[str, ...]
    probabilities: Probabilities
    errors: tuple[str, ...]

    @property
    def best(self) -> tuple[str | None, ...]:
        """For each image the name of the most probable class; None where there is no answer."""
        return tuple(answer.label for answer in self)

    @property
    def confidence(self) -> Probabilities:
        """float32 (N,): the probability of each image's most probable class, NaN where there is no answer."""
        confidence: Probabilities = self.probabilities.max(axis=1)
        return confidence

    def __len__(self) -> int:
        return len(self.errors)

    def __iter__(self) -> Iterator[Answer]:
        for row, error in zip(self.probabilities, self.errors, strict=True):
            best = int(row.argmax())
            label = None if error else self.labels[best]
            yield Answer(label=label, confidence=float(row[best]), probabilities=row, error=error)


class Model:
    """An open model file; made by `toolkit.load`.

    Attributes:
        contract: what the file promises: labels, input size, colour, resize policy.
        labels: class names, in the order of the probabilities.
        image_size: (height, width) that images are resized to.
        device: where it runs, "cpu" or "cuda".
    """

    def __init__(self, session: Session) -> None:
        self._label = Labeller(session, limits=Limits.of(), batch_size=BATCH_SIZE)
        self.contract: Contract = session.contract
        self.labels: tuple[str, ...] = session.contract.labels
        self.image_size: tuple[int, int] = (session.contract.preprocess.height, session.contract.preprocess.width)
        self.device: str = session.device

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> Predictions:
        """Probabilities of images, in their order; an image that cannot be read is an error, not an exception.

        Args:
            images: one or many of: paths; uint8 arrays of any size, (h, w, 3) in RGB order or (h, w) grey; images of
                Pillow, which are turned upright by their EXIF orientation as files are. An array (N, h, w, 3) is N
                images; several grey images are a list.

        Raises:
            UsageError: an array of another shape, or something that is no image.
        """
        several = [images] if _is_one(images) else images
        found: list[Prediction] = []
        for batch in batches(map(_image, several), BATCH_SIZE):  # type: ignore[arg-type]
            answers = iter(self._label([image for image in batch if not isinstance(image, Prediction)]))
            found += [image if isinstance(image, Prediction) else next(answers) for image in batch]
        probabilities = np.full((len(found), len(self.labels)), np.nan, np.float32)
        for row, prediction in zip(probabilities, found, strict=True):
            if prediction.probabilities is not None:
                row[:] = prediction.probabilities
        errors = tuple(prediction.error for prediction in found)
        return Predictions(labels=self.labels, probabilities=probabilities, errors=errors)


def _is_one(images: object) -> bool:
    """Whether it is one image.

    Raises:
        UsageError: an array that could be one image or many, or is neither.
    """
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3, 4) or (images.ndim == 3 and images.shape[2] not in (1, 3)):
            raise UsageError(
                f"an array of the shape {images.shape}: expected (h, w), (h, w, 3) or (N, h, w, 3)",
                hint="leave out the alpha channel: array[..., :3]; give several grey images as a list: list(array)",
            )
        return images.ndim < 4
    return isinstance(images, (str, os.PathLike)) or _is_pillow(images)


def _is_pillow(image: object) -> bool:
    """Whether it is an image of Pillow, which need not be installed to answer that."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)


def _image(given: ImageLike) -> Sample | Image | Prediction:
    """The image as a labeller takes it; the answer where it cannot be read."""
    if isinstance(given, np.ndarray):
        return given
    if not isinstance(given, (str, os.PathLike)):
        return _from_pillow(given)
    path = os.fspath(given)
    return sample(path, path)


def _from_pillow(given: Any) -> Image | Prediction:
    if not _is_pillow(given):
        raise UsageError(f"expected paths, arrays or images of Pillow; found {type(given).__name__}")
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(given)
        if upright.mode.startswith("I"):  # 16 bits, or 16 in 32
            return np.asarray(np.asarray(upright, np.int64).clip(0, 65535) >> 8, np.uint8)
        return np.asarray(upright if upright.mode in ("L", "RGB") else upright.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow reads a file when its pixels are asked for
        return Prediction(IN_MEMORY, None, f"cannot be read: {first_line(error)}")


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
