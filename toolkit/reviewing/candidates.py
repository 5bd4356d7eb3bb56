"""What a model finds most likely in an image that it was unsure of: a table of labels alone does not say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from toolkit.core.errors import ToolkitError
from toolkit.core.text import printable
from toolkit.inference.predictor import Model, load
from toolkit.inference.saved_results import SavedRow

TOLERANCE: Final = 0.001
"""How far the model's probability may be from the table's: another runtime computes slightly different numbers."""


class Candidates:
    """Asks a model, which is opened for the first image; from any thread.

    Args:
        path: a bundle or a model file; where it cannot be opened, nothing is known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._failed = False

    def label(self, image: Path, row: SavedRow) -> str:
        """The most probable class of a whole image, where its probability is what the table says; else "".

        Another probability means that the table is of another model, or that the image has changed.
        """
        if row.detection is not None or row.confidence is None:
            return ""
        with self._lock:
            model = self._opened()
            if model is None:
                return ""
            (answer,) = model.predict(image)
        same = answer.label is not None and abs(answer.confidence - row.confidence) <= TOLERANCE
        return printable(answer.label) if answer.label and same else ""

    def _opened(self) -> Model | None:
        if self._model is None and not self._failed:
            try:
                self._model = load(self._path, device="cpu")
            except ToolkitError:
                self._failed = True
        return self._model
