"""`report.csv` and `confusion.csv`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toolkit.core.files import write_csv
from toolkit.core.ownership import has_columns
from toolkit.core.text import printable
from toolkit.metrics.classification import Report, single_figures
from toolkit.metrics.confusion import ConfusionMatrix, mistaken_for, taken_for

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


def write_report_csv(figures: Report, path: Path, *, csv_safe: bool = False) -> None:
    """Write `figures` as CSV: a row per class, the averages, then the single metrics. Undefined numbers are empty."""
    write_csv(path, REPORT_COLUMNS, _report_rows(figures), csv_safe=csv_safe)


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


def digits(value: float) -> str:
    """A metric as every file writes it: ten decimals at most, nothing where it is undefined.

    >>> digits(2 / 3), digits(1.0), digits(float("nan"))
    ('0.6666666667', '1.0', '')
    """
    return "" if math.isnan(value) else repr(round(value, 10))


CONFUSION_SUMMARY: Final = ("(unsure)", "(error)", "(support)", "(taken for)", "(mistaken for it)")
"""Columns of `confusion.csv` after those of the classes."""


def write_confusion_csv(confusion: ConfusionMatrix, path: Path, *, csv_safe: bool = False) -> None:
    """Write the counts as CSV: a row per true class, a column per predicted class, then a summary of the class.

    The summary names the three classes that its images were most often taken for, and the three whose images were
    most often mistaken for it, with counts: `dog 12; fox 3`.
    """
    labels = [printable(label) for label in confusion.labels]
    support = confusion.counts.sum(axis=1)
    rows = []
    for i, label in enumerate(labels):
        without_answer = (int(confusion.unsure[i]), int(confusion.errors[i]), int(support[i]))
        both_ways = (taken_for(confusion, i), mistaken_for(confusion, i))
        texts = ["; ".join(f"{labels[j]} {n}" for j, n in pairs) for pairs in both_ways]
        rows.append([label, *confusion.counts[i].tolist(), *without_answer, *texts])
    write_csv(path, ["truth", *labels, *CONFUSION_SUMMARY], rows, csv_safe=csv_safe)
