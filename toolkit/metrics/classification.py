"""Truth and prediction -> a confusion matrix -> figures. Pure numpy, streamed: memory does not grow with the data.

How a row without an answer counts is defined here, once, for `train`, `infer` and `evaluate`:

- An `error` row (the picture could not be read) and an `unsure` row (confidence under the limit) are no answer. They
  are left out of precision, recall, accuracy and every other figure, are counted per true class beside the matrix, and
  are shown in every report. `coverage` is the share of the readable pictures that got an answer.
- A row whose true class the model does not know is not added at all.
- Averages run over the classes that occur in the truth or the predictions, as scikit-learn's do.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.core.files import atomic_write
from toolkit.core.ownership import has_columns
from toolkit.core.text import printable

UNSURE: Final = -1
"""Predicted index of a picture whose confidence is under the limit."""

ERROR: Final = -2
"""Predicted index of a picture that could not be read."""

NAN: Final = float("nan")

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.integer[Any]] | Sequence[int]


class ConfusionMatrix:
    """Counts of (true class, predicted class), fed batch by batch.

    Attributes:
        labels: class names; index i everywhere means labels[i]. K = len(labels).
        counts: int64 (K, K), `counts[t, p]` pictures of class t were taken for class p.
        unsure: int64 (K,), pictures of each class that were left without an answer.
        errors: int64 (K,), pictures of each class that could not be read.

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
            truth: integers (N,), true class of each picture, 0..K-1.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFigures:
    """The figures of one class. Rates are 0..1, and NaN where the class occurs on neither side.

    Attributes:
        label: the class's name.
        precision, recall, f1: 0 where nothing was predicted or nothing is true but the other side has some.
        support: pictures of this class that got an answer.
        predicted: pictures that were taken for this class.
        correct: pictures of this class that were taken for it.
        precision_interval, recall_interval: Wilson score intervals at 95 %, (low, high).
        unsure, errors: pictures of this class without an answer; not in `support`.
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
    """The figures of one confusion matrix, the same as scikit-learn's. Rates are NaN where there is no picture.

    Attributes:
        classes: one entry per class, in the model's order.
        support: pictures that got an answer; every figure is about them.
        correct: answered pictures whose class is right.
        unsure, errors: pictures without an answer.
        coverage: support / (support + unsure).
        accuracy: correct / support, with its Wilson score interval at 95 %.
        balanced_accuracy: mean recall of the classes that have pictures.
        macro, weighted: averages over the classes that occur, plain and weighted by support.
        cohen_kappa: agreement beyond chance, -1..1; NaN where it is undefined (one class on both sides).
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


def report(confusion: ConfusionMatrix) -> Report:
    """The figures of `confusion`.

    >>> confusion = ConfusionMatrix(["cat", "dog"])
    >>> confusion.add([0, 0, 1, 1], [0, 1, 1, 1])
    >>> figures = report(confusion)
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


REPORT_COLUMNS: Final = (
    "class",
    "precision",
    "recall",
    "f1",
    "support",
    "unsure",
    "error",
    "precision_low",
    "precision_high",
    "recall_low",
    "recall_high",
    "kind",
    "value",
)
"""Columns of `report.csv`. `kind` is "class" (one row per class), "average" or "figure" (one number, in `value`)."""


def write_report_csv(figures: Report, path: Path) -> None:
    """Write `figures` as CSV: a row per class, the averages, then the single figures. Undefined numbers are empty."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(REPORT_COLUMNS)
        writer.writerows(_report_rows(figures))


def is_report_csv(path: Path) -> bool:
    """Whether `path` is a file that `write_report_csv` wrote."""
    return has_columns(path, REPORT_COLUMNS, first=REPORT_COLUMNS[0])


def is_confusion_csv(path: Path) -> bool:
    """Whether `path` is a file that `write_confusion_csv` wrote."""
    return has_columns(path, CONFUSION_SUMMARY, first="truth")


def _report_rows(figures: Report) -> Iterator[list[str | int]]:
    for c in figures.classes:
        yield [
            printable(c.label),
            *map(digits, (c.precision, c.recall, c.f1)),
            *(c.support, c.unsure, c.errors),
            *map(digits, (*c.precision_interval, *c.recall_interval)),
            *("class", ""),
        ]
    for name, average in (("macro avg", figures.macro), ("weighted avg", figures.weighted)):
        means = map(digits, (average.precision, average.recall, average.f1))
        yield [name, *means, figures.support, figures.unsure, figures.errors, *[""] * 4, "average", ""]
    for name, value in single_figures(figures).items():
        yield [name, *[""] * 10, "figure", digits(value)]


def single_figures(figures: Report) -> dict[str, float]:
    """The figures that are one number, by the name that every report file gives them."""
    return {
        "accuracy": figures.accuracy,
        "accuracy_low": figures.accuracy_interval[0],
        "accuracy_high": figures.accuracy_interval[1],
        "balanced_accuracy": figures.balanced_accuracy,
        "cohen_kappa": figures.cohen_kappa,
        "matthews_correlation": figures.matthews_correlation,
        "coverage": figures.coverage,
    }


def digits(value: float) -> str:
    """A figure as every file writes it: ten decimals at most, nothing where it is undefined.

    >>> digits(2 / 3), digits(1.0), digits(float("nan"))
    ('0.6666666667', '1.0', '')
    """
    return "" if math.isnan(value) else repr(round(value, 10))


CONFUSION_SUMMARY: Final = ("(unsure)", "(error)", "(support)", "(taken for)", "(mistaken for it)")
"""Columns of `confusion.csv` after those of the classes."""


def write_confusion_csv(confusion: ConfusionMatrix, path: Path) -> None:
    """Write the counts as CSV: a row per true class, a column per predicted class, then a summary of the class.

    The summary names the three classes that its pictures were most often taken for, and the three whose pictures were
    most often mistaken for it, with counts: `dog 12; fox 3`.
    """
    labels = [printable(label) for label in confusion.labels]
    support = confusion.counts.sum(axis=1)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["truth", *labels, *CONFUSION_SUMMARY])
        for i, label in enumerate(labels):
            without_answer = (int(confusion.unsure[i]), int(confusion.errors[i]), int(support[i]))
            both_ways = (taken_for(confusion, i), mistaken_for(confusion, i))
            texts = ["; ".join(f"{labels[j]} {n}" for j, n in pairs) for pairs in both_ways]
            writer.writerow([label, *confusion.counts[i].tolist(), *without_answer, *texts])


def taken_for(confusion: ConfusionMatrix, index: int, limit: int = 3) -> list[tuple[int, int]]:
    """The classes that pictures of class `index` were most often taken for: (class, count), largest first."""
    return _largest(confusion.counts[index], index, limit)


def mistaken_for(confusion: ConfusionMatrix, index: int, limit: int = 3) -> list[tuple[int, int]]:
    """The classes whose pictures were most often taken for class `index`: (class, count), largest first."""
    return _largest(confusion.counts[:, index], index, limit)


def _largest(counts: Counts, left_out: int, limit: int) -> list[tuple[int, int]]:
    order = np.argsort(-counts, kind="stable")[: limit + 1].tolist()
    return [(j, int(counts[j])) for j in order if j != left_out and counts[j]][:limit]
