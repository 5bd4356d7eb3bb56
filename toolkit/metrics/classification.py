"""Truth and prediction -> a confusion matrix -> metrics. Pure numpy, streamed: memory does not grow with the data.

How a row without an answer counts is defined here, once, for `train`, `infer` and `evaluate`:

- An `error` row (the image could not be read) and an `unsure` row (confidence under the limit) are not answers. They
  are left out of precision, recall, accuracy and every other metric, are counted per true class beside the matrix, and
  are shown in every report. `coverage` is the share of the readable images that got an answer.
- A row whose true class the model does not know is not added at all.
- Averages run over the classes that occur in the truth or the predictions, as scikit-learn's do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from toolkit.metrics.confusion import ConfusionMatrix, Counts

NAN: Final = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFigures:
    """The metrics of one class. Rates are 0..1, and NaN where the class is neither true nor predicted anywhere.

    Attributes:
        label: the class's name.
        precision, recall, f1: 0 where the class was never predicted, or is never true, but not both.
        support: images of this class that got an answer.
        predicted: images that were taken for this class.
        correct: images of this class that were taken for it.
        precision_interval, recall_interval: Wilson score intervals at 95 %, (low, high).
        unsure, errors: images of this class without an answer; not in `support`.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    correct: int
    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]
    unsure: int
    errors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """Precision, recall and F1 averaged over the classes that occur."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The metrics of one confusion matrix, the same as scikit-learn's. Rates are NaN where there is no image.

    Attributes:
        classes: one entry per class, in the model's order.
        support: images that got an answer; every metric is about them.
        correct: answered images whose class is right.
        unsure, errors: images without an answer.
        coverage: support / (support + unsure).
        accuracy: correct / support, with its Wilson score interval at 95 %.
        balanced_accuracy: mean recall of the classes that have images.
        macro, weighted: averages over the classes that occur, plain and weighted by support.
        cohen_kappa: agreement beyond chance, -1..1; NaN where it is undefined (only one class occurs).
        matthews_correlation: -1..1; 0 where truth or prediction is constant.
    """

    classes: tuple[ClassFigures, ...]
    support: int
    correct: int
    unsure: int
    errors: int
    coverage: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro: Average
    weighted: Average
    cohen_kappa: float
    matthews_correlation: float


def compute_report(confusion: ConfusionMatrix) -> Report:
    """The metrics of `confusion`.

    >>> confusion = ConfusionMatrix(["cat", "dog"])
    >>> confusion.add([0, 0, 1, 1], [0, 1, 1, 1])
    >>> figures = compute_report(confusion)
    >>> figures.accuracy, figures.classes[0].recall, figures.classes[0].precision
    (0.75, 0.5, 1.0)
    """
    counts = confusion.counts
    true, predicted, correct = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    occurs = (true + predicted) > 0
    precision = np.where(occurs, _ratio(correct, predicted), NAN)
    recall = np.where(occurs, _ratio(correct, true), NAN)
    f1 = np.where(occurs, _ratio(2 * correct, true + predicted), NAN)
    support, n_correct, n_unsure = int(true.sum()), int(correct.sum()), int(confusion.unsure.sum())
    classes = tuple(
        ClassFigures(
            label=label,
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(true[i]),
            predicted=int(predicted[i]),
            correct=int(correct[i]),
            precision_interval=wilson(int(correct[i]), int(predicted[i])),
            recall_interval=wilson(int(correct[i]), int(true[i])),
            unsure=int(confusion.unsure[i]),
            errors=int(confusion.errors[i]),
        )
        for i, label in enumerate(confusion.labels)
    )
    return Report(
        classes=classes,
        support=support,
        correct=n_correct,
        unsure=n_unsure,
        errors=int(confusion.errors.sum()),
        coverage=support / (support + n_unsure) if support + n_unsure else NAN,
        accuracy=n_correct / support if support else NAN,
        accuracy_interval=wilson(n_correct, support),
        balanced_accuracy=float(recall[true > 0].mean()) if support else NAN,
        macro=_average(precision, recall, f1, np.where(occurs, 1, 0)),
        weighted=_average(precision, recall, f1, true),
        cohen_kappa=_cohen_kappa(true, predicted, n_correct),
        matthews_correlation=_matthews(true, predicted, n_correct),
    )


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a rate, (low, high); (NaN, NaN) for n = 0. `z` is 1.96 for 95 %.

    >>> low, high = wilson(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    if n == 0:
        return NAN, NAN
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def _ratio(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    """part / whole, 0 where whole is 0: scikit-learn's convention."""
    return np.divide(part, whole, out=np.zeros(len(whole), np.float64), where=whole > 0)


def _average(
    precision: npt.NDArray[np.float64],
    recall: npt.NDArray[np.float64],
    f1: npt.NDArray[np.float64],
    weights: Counts,
) -> Average:
    used = weights > 0
    if not used.any():
        return Average(precision=NAN, recall=NAN, f1=NAN)
    means = [float(np.average(values[used], weights=weights[used])) for values in (precision, recall, f1)]
    return Average(precision=means[0], recall=means[1], f1=means[2])


def _cohen_kappa(true: Counts, predicted: Counts, n_correct: int) -> float:
    n = float(true.sum())
    if n == 0:
        return NAN
    by_chance = float(true.astype(np.float64) @ predicted) / (n * n)
    return (n_correct / n - by_chance) / (1 - by_chance) if by_chance < 1 else NAN


def _matthews(true: Counts, predicted: Counts, n_correct: int) -> float:
    """The multi-class form (Gorodkin's R_K)."""
    t, p, n = true.astype(np.float64), predicted.astype(np.float64), float(true.sum())
    if n == 0:
        return NAN
    spread = (n * n - float(t @ t)) * (n * n - float(p @ p))
    return (n_correct * n - float(t @ p)) / math.sqrt(spread) if spread > 0 else 0.0


def single_figures(figures: Report) -> dict[str, float]:
    """The metrics that are one number, by the name that every report file gives them."""
    return {
        "accuracy": figures.accuracy,
        "accuracy_low": figures.accuracy_interval[0],
        "accuracy_high": figures.accuracy_interval[1],
        "balanced_accuracy": figures.balanced_accuracy,
        "cohen_kappa": figures.cohen_kappa,
        "matthews_correlation": figures.matthews_correlation,
        "coverage": figures.coverage,
    }
