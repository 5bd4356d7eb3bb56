"""Several models on the same folders: side by side, picture by picture against the first of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from toolkit import __version__
from toolkit.core import pages
from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import atomic_write
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.evaluation.evaluate import EvaluateOptions, Evaluation
from toolkit.evaluation.report import write_reports
from toolkit.evaluation.report_files import PREDICTIONS_CSV
from toolkit.evaluation.report_folder import CHANGED_CSV, COMPARE_CSV, COMPARE_PAGE, COMPARISON_NAMES, report_folder
from toolkit.evaluation.report_page import template
from toolkit.images.thumbnail import thumbnail
from toolkit.inference.result_table import OK
from toolkit.metrics.classification import NAN, digits

MAX_SHOWN: Final = 60
"""Changed pictures that the page shows."""

COMPARE_COLUMNS: Final = (
    "model",
    "quantization",
    "size_bytes",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "difference",
    "difference_low",
    "difference_high",
    "changed",
    "gained",
    "lost",
    "pictures_per_s",
    "run_ms",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One model beside the first.

    Attributes:
        name: of its folder of reports.
        evaluation: all about it.
        difference: its accuracy minus the first model's, over the pictures that both answered.
        difference_interval: at 95 %, for paired answers (Bonett and Price, 2012).
        changed: pictures with another answer than the first model's, or with an answer from only one of them.
        gained, lost: pictures that only this model, or only the first, got right, of those that both answered.
    """

    name: str
    evaluation: Evaluation
    difference: float
    difference_interval: tuple[float, float]
    changed: int
    gained: int
    lost: int


def compare(
    data: Path,
    models: Sequence[Path],
    out: Path,
    options: EvaluateOptions | None = None,
    progress: Progress = SILENT,
) -> tuple[Compared, ...]:
    """Evaluate each of `models` into a folder of its own in `out`, and write what differs.

    `compare.csv` has a line for each model, `changed.csv` one for each picture whose answer is not the same everywhere,
    `compare.html` shows both.

    Raises:
        UsageError: fewer than two models.
        InputError, ModelError, MachineError: as `toolkit.evaluation.report.evaluate`; or the images
            changed between models.
    """
    if len(models) < 2:
        raise UsageError("a comparison needs two models or more", hint="--model A --model B")
    names = model_names(models)
    options = options or EvaluateOptions()
    with report_folder(out, COMPARISON_NAMES | set(names), force=options.force) as folder:
        evaluations = []
        for name, model in zip(names, models, strict=True):
            progress.line(f"{name}: {printable(str(model))}")
            (folder / name).mkdir()
            evaluations.append(write_reports(data, model, folder / name, options, progress))
        tables = [folder / name / PREDICTIONS_CSV for name in names]
        compared = tuple(
            _against_first(name, evaluation, tables[0], table)
            for name, evaluation, table in zip(names, evaluations, tables, strict=True)
        )
        _write_table(compared, folder / COMPARE_CSV)
        _write_changed(names, tables, folder / CHANGED_CSV)
        _write_page(compared, tables, data, folder / COMPARE_PAGE)
        return compared


def model_names(models: Sequence[Path]) -> list[str]:
    """A short name for each model, no two the same.

    >>> model_names([Path("a/model.onnx"), Path("a/model.int8.onnx"), Path("b/model.onnx")])
    ['model', 'model.int8', 'model-2']
    """
    names: list[str] = []
    for model in models:
        stem = model.stem if model.suffix.lower() in (".onnx", ".tflite") else model.resolve().name
        if model.suffix.lower() == ".tflite":
            stem += ".tflite"
        n = 1
        name = stem
        while name in names:
            n += 1
            name = f"{stem}-{n}"
        names.append(name)
    return names


def paired_difference(gained: int, lost: int, n: int, z: float = 1.959963984540054) -> tuple[float, float, float]:
    """Difference of two accuracies on the same `n` pictures: (difference, low, high), the interval at 95 %.

    >>> [round(x, 4) for x in paired_difference(12, 4, 100)]
    [0.08, -0.0017, 0.1585]
    """
    if n == 0:
        return NAN, NAN, NAN
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return (gained - lost) / n, max(-1.0, p - q - half), min(1.0, p - q + half)


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _paired(tables: Sequence[Path]) -> Iterator[tuple[dict[str, str], ...]]:
    """The rows of every table for one picture after the other; the tables are in the same order."""
    try:
        for rows in zip(*map(_rows, tables), strict=True):
            if len({row["path"] for row in rows}) > 1:
                raise ValueError
            yield rows
    except ValueError:
        raise InputError(
            f"{tables[0].parent.parent}: the pictures changed while the models were compared",
            hint="run the same command again",
        ) from None


def _answer(row: dict[str, str]) -> str:
    return row["label"] if row["status"] == OK else f"({row['status']})"


def _against_first(name: str, evaluation: Evaluation, first: Path, table: Path) -> Compared:
    n = changed = gained = lost = 0
    for before, after in _paired([first, table]):
        changed += _answer(before) != _answer(after)
        if before["truth"] and before["truth"] == after["truth"] and before["status"] == after["status"] == OK:
            n += 1
            was_right, is_right = (row["label"] == row["truth"] for row in (before, after))
            gained += is_right and not was_right
            lost += was_right and not is_right
    difference, low, high = (0.0, 0.0, 0.0) if table == first else paired_difference(gained, lost, n)
    return Compared(
        name=name,
        evaluation=evaluation,
        difference=difference,
        difference_interval=(low, high),
        changed=changed,
        gained=gained,
        lost=lost,
    )


def _write_table(compared: Sequence[Compared], path: Path) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COMPARE_COLUMNS)
        for c in compared:
            report, model = c.evaluation.report, c.evaluation.model
            rates = (report.accuracy, *report.accuracy_interval, c.difference, *c.difference_interval)
            writer.writerow(
                [
                    c.name,
                    model.contract.quantization,
                    model.size_bytes,
                    *map(digits, rates),
                    *(c.changed, c.gained, c.lost),
                    *map(digits, (model.pictures_per_s, model.run_ms)),
                ]
            )


def _write_changed(names: Sequence[str], tables: Sequence[Path], path: Path) -> None:
    """The pictures whose answers are not all the same: path, truth, then answer and confidence of each model."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "truth", *(column for name in names for column in (name, f"{name} confidence"))])
        for rows in _paired(tables):
            if len({_answer(row) for row in rows}) > 1:
                cells = [cell for row in rows for cell in (_answer(row), row["confidence"])]
                writer.writerow([rows[0]["path"], rows[0]["truth"], *cells])


def _write_page(compared: Sequence[Compared], tables: Sequence[Path], data: Path, path: Path) -> None:
    changed = islice((rows for rows in _paired(tables) if len({_answer(row) for row in rows}) > 1), MAX_SHOWN)
    shown = []
    for rows in changed:
        first = rows[0]
        image = thumbnail(first["path"])
        answers = [(c.name, _answer(row), row["confidence"]) for c, row in zip(compared, rows, strict=True)]
        shown.append({"path": first["path"], "truth": first["truth"], "answers": answers, "image": image and image[0]})
    text = template("compare.html.j2").render(
        compared=compared, changed=shown, data=data, style=pages.resource(*pages.PAGE_CSS), version=__version__
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
