"""Truth and probabilities -> top-k accuracy, log loss, calibration and the threshold table. Pure numpy, streamed.

These metrics are about every readable image whose true class the model knows, whatever limit of confidence was set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.metrics.classification import NAN, wilson
from toolkit.metrics.confusion import Counts

CALIBRATION_BINS: Final = 15
"""Bins of equal width of the expected calibration error, as Guo et al. (2017) have it."""

HISTOGRAM_BINS: Final = 100
"""Bins of the confidence histogram; the threshold table has one step for each."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """One bar of the reliability diagram: the images whose confidence lies in (low, high].

    Attributes:
        low, high: limits of the confidence.
        n: how many images.
        confidence: their mean confidence, NaN where there are none.
        accuracy: the share of them that is right, NaN where there are none.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """What `--min-confidence` would do: images of at least that confidence are answered, the others are unsure.

    Attributes:
        min_confidence: the limit, 0..1.
        answered: how many images keep their answer.
        correct: how many of these answers are right.
        coverage: answered / all readable images.
        accuracy: correct / answered with its Wilson interval at 95 %; NaN where nothing is answered.
    """

    min_confidence: float
    answered: int
    correct: int
    coverage: float
    accuracy: float
    accuracy_interval: tuple[float, float]


class ProbabilityTally:
    """Sums over (truth, probabilities), fed batch by batch; 0.01 MB for 1,000 classes, however many images.

    Attributes:
        n: images counted.
        right, wrong: int64 (100,), right and wrong answers whose confidence c lies in [i/100, (i+1)/100).

    >>> tally = ProbabilityTally(3)
    >>> tally.add([0, 2], np.array([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]))
    >>> tally.top_k_accuracy(1), tally.top_k_accuracy(2)
    (0.5, 1.0)
    """

    def __init__(self, n_classes: int) -> None:
        self.n = 0
        self.right: Counts = np.zeros(HISTOGRAM_BINS, np.int64)
        self.wrong: Counts = np.zeros(HISTOGRAM_BINS, np.int64)
        self._ranks: Counts = np.zeros(n_classes, np.int64)
        self._loss = 0.0
        self._bin_n: Counts = np.zeros(CALIBRATION_BINS, np.int64)
        self._bin_right: Counts = np.zeros(CALIBRATION_BINS, np.int64)
        self._bin_confidence = np.zeros(CALIBRATION_BINS)

    def add(self, truth: npt.ArrayLike, probabilities: Floats) -> None:
        """Count a batch.

        Args:
            truth: integers (N,), true class of each image, 0..K-1.
            probabilities: float (N, K), 0..1, rows sum to 1.

        Raises:
            ValueError: the shapes do not match, or a class is out of range.
        """
        true_index = np.asarray(truth, np.int64)
        if probabilities.shape != (len(true_index), len(self._ranks)):
            raise ValueError(f"probabilities {probabilities.shape}, expected {(len(true_index), len(self._ranks))}")
        if not len(true_index):
            return
        if true_index.min() < 0 or true_index.max() >= len(self._ranks):
            raise ValueError(f"a true class is outside 0..{len(self._ranks) - 1}")
        of_truth = np.take_along_axis(probabilities, true_index[:, None], axis=1)
        rank = ranks(probabilities, true_index, of_truth)
        confidence = probabilities.max(axis=1).astype(np.float64)
        right = rank == 0
        epsilon = np.finfo(probabilities.dtype).eps
        self.n += len(true_index)
        self._ranks += np.bincount(rank, minlength=len(self._ranks))
        self._loss -= float(np.log(np.clip(of_truth.astype(np.float64), epsilon, 1 - epsilon)).sum())
        fine = np.searchsorted(_FINE_EDGES, confidence, side="right") - 1
        fine = np.clip(fine, 0, HISTOGRAM_BINS - 1)
        self.right += np.bincount(fine[right], minlength=HISTOGRAM_BINS)
        self.wrong += np.bincount(fine[~right], minlength=HISTOGRAM_BINS)
        coarse = np.clip(np.searchsorted(_COARSE_EDGES, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
        self._bin_n += np.bincount(coarse, minlength=CALIBRATION_BINS)
        self._bin_right += np.bincount(coarse[right], minlength=CALIBRATION_BINS)
        self._bin_confidence += np.bincount(coarse, confidence, minlength=CALIBRATION_BINS)

    def top_k_accuracy(self, k: int) -> float:
        """The share of the images whose true class is among the `k` most probable; NaN where there is none."""
        return int(self._ranks[:k].sum()) / self.n if self.n else NAN

    @property
    def log_loss(self) -> float:
        """Mean of -ln(probability of the true class), clipped as scikit-learn does; NaN where there is no image."""
        return self._loss / self.n if self.n else NAN

    @property
    def expected_calibration_error(self) -> float:
        """Mean gap between confidence and accuracy over the bins, weighted by their images (Guo et al., 2017)."""
        return float(np.abs(self._bin_right - self._bin_confidence).sum()) / self.n if self.n else NAN

    @property
    def mean_confidence(self) -> float:
        """Mean probability of the predicted class; NaN where there is no image."""
        return float(self._bin_confidence.sum()) / self.n if self.n else NAN

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """The bars of the reliability diagram, from low to high confidence."""
        return tuple(
            CalibrationBin(
                low=float(_COARSE_EDGES[i]),
                high=float(_COARSE_EDGES[i + 1]),
                n=int(n),
                confidence=float(self._bin_confidence[i]) / int(n) if n else NAN,
                accuracy=int(self._bin_right[i]) / int(n) if n else NAN,
            )
            for i, n in enumerate(self._bin_n)
        )

    def thresholds(self) -> tuple[Threshold, ...]:
        """The threshold table: `--min-confidence` 0.00, 0.01, ... 0.99, and what it would do."""
        answered = np.cumsum((self.right + self.wrong)[::-1])[::-1].tolist()
        correct = np.cumsum(self.right[::-1])[::-1].tolist()
        return tuple(
            Threshold(
                min_confidence=i / HISTOGRAM_BINS,
                answered=n,
                correct=n_right,
                coverage=n / self.n if self.n else NAN,
                accuracy=n_right / n if n else NAN,
                accuracy_interval=wilson(n_right, n),
            )
            for i, (n, n_right) in enumerate(zip(answered, correct, strict=True))
        )


def ranks(probabilities: Floats, true_index: npt.NDArray[np.int64], of_truth: Floats) -> npt.NDArray[np.int64]:
    """How many classes come before the true one, (N,); of equal probabilities the lower index comes first."""
    before: npt.NDArray[np.int64] = np.asarray(np.count_nonzero(probabilities > of_truth, axis=1), np.int64)
    (tied,) = np.nonzero(np.count_nonzero(probabilities == of_truth, axis=1) > 1)
    for row in tied.tolist():
        before[row] += int(np.count_nonzero(probabilities[row, : true_index[row]] == of_truth[row, 0]))
    return before


_FINE_EDGES: Final = np.arange(HISTOGRAM_BINS + 1) / HISTOGRAM_BINS
_COARSE_EDGES: Final = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
