"""Truth and prediction -> a confusion matrix, fed batch by batch: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

UNSURE: Final = -1
"""Predicted index of an image whose confidence is under the limit."""

ERROR: Final = -2
"""Predicted index of an image that could not be read."""

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.integer[Any]] | Sequence[int]


class ConfusionMatrix:
    """Counts of (true class, predicted class), fed batch by batch.

    Attributes:
        labels: class names; index i everywhere means labels[i]. K = len(labels).
        counts: int64 (K, K), `counts[t, p]` images of class t were taken for class p.
        unsure: int64 (K,), images of each class that were left without an answer.
        errors: int64 (K,), images of each class that could not be read.

    >>> confusion = ConfusionMatrix(["cat", "dog"])
    >>> confusion.add([0, 0, 1, 1, 1], [0, 1, 1, 1, UNSURE])
    >>> confusion.counts.tolist(), confusion.unsure.tolist()
    ([[1, 1], [0, 2]], [0, 1])
    """

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = tuple(labels)
        self._index = {label: index for index, label in enumerate(self.labels)}
        n_classes = len(self.labels)
        self.counts: Counts = np.zeros((n_classes, n_classes), np.int64)
        self.unsure: Counts = np.zeros(n_classes, np.int64)
        self.errors: Counts = np.zeros(n_classes, np.int64)

    def add(self, truth: Indices, predicted: Indices) -> None:
        """Count a batch.

        Args:
            truth: integers (N,), true class of each image, 0..K-1.
            predicted: integers (N,), predicted class 0..K-1, or `UNSURE`, or `ERROR`.

        Raises:
            ValueError: the shapes differ, or an index is out of range; nothing of the batch is counted then.
        """
        true_index, predicted_index = np.atleast_1d(np.asarray(truth)), np.atleast_1d(np.asarray(predicted))
        if true_index.shape != predicted_index.shape or true_index.ndim != 1:
            raise ValueError(f"truth {true_index.shape} and predicted {predicted_index.shape} must both be (N,)")
        if not true_index.size:
            return
        n_classes = len(self.labels)
        if true_index.min() < 0 or true_index.max() >= n_classes:
            raise ValueError(f"a true class is outside 0..{n_classes - 1}")
        if predicted_index.min() < ERROR or predicted_index.max() >= n_classes:
            raise ValueError(f"a predicted class is outside {ERROR}..{n_classes - 1}")
        answered = predicted_index >= 0
        np.add.at(self.counts, (true_index[answered], predicted_index[answered]), 1)
        np.add.at(self.unsure, true_index[predicted_index == UNSURE], 1)
        np.add.at(self.errors, true_index[predicted_index == ERROR], 1)

    def add_row(self, *, truth: str, label: str, status: str) -> bool:
        """Count one row of a result table, and say whether its truth is a class of the model.

        Args:
            truth: name of the true class; a row whose truth is empty or foreign is not counted.
            label: name of the predicted class; ignored unless `status` is "ok".
            status: "ok", "unsure" or "error".
        """
        index = self._index.get(truth)
        if index is None:
            return False
        if status == "ok":
            self.counts[index, self._index[label]] += 1
        elif status == "unsure":
            self.unsure[index] += 1
        else:
            self.errors[index] += 1
        return True


def taken_for(confusion: ConfusionMatrix, index: int, limit: int = 3) -> list[tuple[int, int]]:
    """The classes that images of class `index` were most often taken for: (class, count), largest first."""
    return _largest(confusion.counts[index], index, limit)


def mistaken_for(confusion: ConfusionMatrix, index: int, limit: int = 3) -> list[tuple[int, int]]:
    """The classes whose images were most often taken for class `index`: (class, count), largest first."""
    return _largest(confusion.counts[:, index], index, limit)


def _largest(counts: Counts, left_out: int, limit: int) -> list[tuple[int, int]]:
    order = np.argsort(-counts, kind="stable")[: limit + 1].tolist()
    return [(j, int(counts[j])) for j in order if j != left_out and counts[j]][:limit]
