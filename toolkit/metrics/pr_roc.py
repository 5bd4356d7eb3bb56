"""Precision-recall and ROC curves of each class against the others, and the areas under them.

A curve needs every score, so these are the only metrics whose memory grows with the data: 4 bytes for each
image and class, up to `LIMIT` of them; beyond that the curves are left out and the reports say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.metrics.classification import NAN

LIMIT: Final = 100_000_000
"""Images x classes up to which curves are kept (0.4 GB)."""

GRID: Final = np.linspace(0, 1, 201)
"""Where curves are sampled for plots: recall of the one, false positive rate of the other."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCurves:
    """One class against all others.

    Attributes:
        average_precision: area under the precision-recall steps; NaN where the class has no image.
        roc_auc: area under the ROC curve; NaN where the class has no image, or all of them.
        precision: float32 (201,), precision where recall first reaches each point of `GRID`.
        true_positive_rate: float32 (201,), at the false positive rates of `GRID`.
    """

    average_precision: float
    roc_auc: float
    precision: npt.NDArray[np.float32]
    true_positive_rate: npt.NDArray[np.float32]


class ScoreStore:
    """Keeps scores until their curves can be drawn, or gives up at `limit`.

    Attributes:
        full: True once `limit` was passed; nothing is kept any more.

    >>> store = ScoreStore(2)
    >>> store.add([0, 1, 1], np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32))
    >>> [curves.roc_auc for curves in store.curves()]
    [1.0, 1.0]
    """

    def __init__(self, n_classes: int, limit: int = LIMIT) -> None:
        self.full = False
        self._n_classes = n_classes
        self._room = limit
        self._truth: list[npt.NDArray[np.int32]] = []
        self._scores: list[Floats] = []

    def add(self, truth: npt.ArrayLike, probabilities: Floats) -> None:
        """Keep a batch.

        Args:
            truth: integers (N,), 0..K-1.
            probabilities: float (N, K).
        """
        if self.full:
            return
        self._room -= probabilities.size
        if self._room < 0:
            self.full = True
            self._truth, self._scores = [], []
            return
        self._truth.append(np.asarray(truth, np.int32))
        # A class's scores are read together later, so they are stored together.
        self._scores.append(np.ascontiguousarray(probabilities.T))

    def curves(self) -> tuple[ClassCurves, ...]:
        """The curves of each class, in the model's order; () where `full`."""
        if self.full:
            return ()
        truth = np.concatenate([np.zeros(0, np.int32), *self._truth])
        return tuple(
            class_curves(truth == k, np.concatenate([np.zeros(0, np.float32), *(s[k] for s in self._scores)]))
            for k in range(self._n_classes)
        )


def class_curves(positive: npt.NDArray[np.bool_], scores: Floats) -> ClassCurves:
    """The curves of one class.

    Args:
        positive: bool (N,), whether the image is of this class.
        scores: float (N,), the probability of this class.
    """
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    order = np.argsort(scores)[::-1]
    ordered, hit = scores[order], positive[order]
    (step,) = np.nonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(scores) else (np.zeros(0, np.int64),)
    true_positive = np.cumsum(hit)[step]
    false_positive = step + 1 - true_positive
    nothing = np.full(len(GRID), NAN, np.float32)
    precision, rate, average_precision, roc_auc = nothing, nothing, NAN, NAN
    if n_positive:
        recall, precise = true_positive / n_positive, true_positive / (step + 1)
        average_precision = float(np.sum(np.diff(recall, prepend=0) * precise))
        precision = precise[np.searchsorted(recall, np.maximum(GRID, recall[0]) - 1e-12)].astype(np.float32)
    if n_positive and n_negative:
        x = np.append(0, false_positive / n_negative)
        y = np.append(0, true_positive / n_positive)
        roc_auc = float(np.trapezoid(y, x))
        rate = np.interp(GRID, x, y).astype(np.float32)
    return ClassCurves(
        average_precision=average_precision, roc_auc=roc_auc, precision=precision, true_positive_rate=rate
    )
