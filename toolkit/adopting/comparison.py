"""A classifier that was adopted against the original: whether both compute the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.adopting.graph import Feeding, Shapes
from toolkit.core.errors import InputError, MismatchError, ModelError
from toolkit.core.text import first_line
from toolkit.images.decode import Image
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Values
from toolkit.sessions.session import Probabilities

Floats = npt.NDArray[np.floating[Any]]
MAX_DIFFERENCE: Final = {"float32": 1e-4, "float16": 1e-2}
NOISE: Final = 8
"""So many times the noise of the original itself a probability may differ, up to `MOST_DIFFERENCE`."""

MOST_DIFFERENCE: Final = 1e-2


class Original:
    """The classifier as it came, fed as its documentation says, with numpy."""

    def __init__(self, model: onnx.ModelProto, shapes: Shapes, feeding: Feeding, path: Path) -> None:
        self.path = path
        self.shapes = shapes
        self._feeding = feeding
        self._session = _session(model.SerializeToString(), path)

    def answers(self, images: Image, *, moved: bool = False) -> Floats:
        """What it computes: (N, K).

        Args:
            moved: each value of the input is the next one of its type; and where the batch is free, one image a time.
        """
        shapes, feeding = self.shapes, self._feeding
        fed = self._fed(images)
        if moved:
            fed = np.nextafter(fed, np.array(np.inf, fed.dtype))
        n = shapes.batch or (1 if moved else len(fed))
        rows = []
        for at in range(0, len(fed), n):
            batch = fed[at : at + n]
            padded = np.concatenate([batch, np.repeat(batch[:1], n - len(batch), 0)])
            try:
                found = self._session.run([shapes.output], {shapes.input: np.ascontiguousarray(padded)})[0]
            except Exception as error:
                raise ModelError(f"{self.path}: onnxruntime cannot run it ({first_line(error)})") from error
            rows.append(found[: len(batch)])
        raw = np.concatenate(rows).astype(np.float64).reshape(len(fed), -1)
        if feeding.logits and raw.shape[1] > 1:
            exponent = np.exp(raw - raw.max(1, keepdims=True))
            return np.asarray(exponent / exponent.sum(1, keepdims=True))
        if raw.shape[1] == 1:
            p = 1 / (1 + np.exp(-raw)) if feeding.logits else raw
            return np.concatenate([1 - p, p], axis=1)
        return np.asarray(raw)

    def check_labels(self, images: Image, contract: Contract) -> None:
        """Whether there are as many class names as columns.

        Raises:
            InputError: there are not.
        """
        columns = self.answers(images).shape[1]
        if columns != len(contract.labels):
            raise InputError(
                f"{self.path}: gives {columns} columns for {len(contract.labels)} class names",
                hint="one class name a line, in the order of the outputs",
            )

    def _fed(self, images: Image) -> Floats:
        feeding = self._feeding
        ordered = images[..., ::-1] if feeding.bgr else images
        scaled = {
            Values.BYTES: ordered * 1.0,
            Values.UNIT: ordered / 255.0,
            Values.SYMMETRIC: ordered / 127.5 - 1.0,
        }[feeding.values]
        fed: Floats = ((scaled - np.array(feeding.mean)) / np.array(feeding.std)).astype(self.shapes.numbers)
        return fed.transpose(0, 3, 1, 2) if self.shapes.nchw else fed


def compare(original: Original, run: Callable[[Image], Probabilities], images: Image) -> tuple[float, float]:
    """(largest difference, top-1 agreement) of the new file and the original, fed by numpy.

    What may differ is judged by the original itself: how far its answers move when each value of its input moves by the
    least step of its type, and when images come one at a time.

    Raises:
        ModelError: one of the two cannot be run.
        MismatchError: they differ by more.
    """
    path, shapes = original.path, original.shapes
    expected = original.answers(images)
    try:
        found = np.concatenate([run(batch) for batch in (images[:1], images[1:8], images[8:])])
    except Exception as error:
        raise ModelError(
            f"{path}: works at its own batch of {shapes.batch or 'any size'}, not at another ({first_line(error)})",
            hint="export it again with a dynamic batch",
        ) from error
    difference = float(np.abs(found - expected).max())
    best = np.take_along_axis(expected, found.argmax(1)[:, None], 1)[:, 0]
    agreement = float((best >= expected.max(1) - 1e-6).mean())
    limit = MAX_DIFFERENCE[shapes.numbers]
    if difference > limit:
        noise = float(np.abs(original.answers(images, moved=True) - expected).max())
        limit = min(max(limit, NOISE * noise), MOST_DIFFERENCE)
    rows = float(np.abs(found.sum(1) - 1).max())
    if not (difference <= limit and rows <= 1e-2):
        why = f"largest difference {difference:.2g}, allowed {limit:g}; rows sum to 1 within {rows:.2g}"
        raise MismatchError(
            f"{path}: the new file does not compute what the original computes, so it was not kept ({why})",
            hint="check --output: rows that do not sum to 1 are logits" if rows > 1e-2 else "",
        )
    return difference, agreement


def _session(content: bytes, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime cannot open it ({first_line(error)})") from error
