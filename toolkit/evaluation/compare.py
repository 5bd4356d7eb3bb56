"""Several models on the same folders: side by side, image by image against the first of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolkit import __version__
from toolkit.core import pages
from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import write_csv, write_text
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.thumbnail import thumbnail
from toolkit.evaluation.report import write_reports
from toolkit.evaluation.report_folder import CHANGED_CSV, COMPARE_CSV, COMPARE_PAGE, COMPARISON_NAMES, report_folder
from toolkit.evaluation.report_page import template
from toolkit.evaluation.result import EvaluateOptions, Evaluation
from toolkit.images.limits import Limits
from toolkit.inference.result_table import OK, ResultRow
from toolkit.metrics.classification import NAN
from toolkit.metrics.csv_files import digits

MAX_SHOWN: Final = 60
"""Changed images that the page shows."""

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
        difference: its accuracy minus the first model's, over the images that both answered.
        difference_interval: at 95 %, for paired answers (Bonett and Price, 2012).
        changed: images with another answer than the first model's, or with an answer from only one of them.
        gained, lost: images that only this model, or only the first, got right, of those that both answered.
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

    `compare.csv` has a line for each model, `changed.csv` one for each image whose answer is not the same everywhere,
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
        answers: list[_Answers] = []
        for name, model in zip(names, models, strict=True):
            progress.line(f"{name}: {printable(str(model))}")
            (folder / name).mkdir()
            rows: list[ResultRow] = []
            evaluation = write_reports(data, model, folder / name, options, progress, rows.extend)
            answers.append(_Answers(name, evaluation, rows))
        _check_same_images(answers, data)
        compared = tuple(_against_first(answers[0], others) for others in answers)
        changed = [rows for rows in zip(*(a.rows for a in answers), strict=True) if len(set(map(_answer, rows))) > 1]
        _write_table(compared, folder / COMPARE_CSV, options)
        _write_changed(names, changed, folder / CHANGED_CSV, options)
        limits = Limits.of(options.max_pixels, options.max_memory)
        _write_page(compared, changed[:MAX_SHOWN], data, folder / COMPARE_PAGE, limits)
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
    """Difference of two accuracies on the same `n` images: (difference, low, high), the interval at 95 %.

    >>> [round(x, 4) for x in paired_difference(12, 4, 100)]
    [0.08, -0.0017, 0.1585]
    """
    if n == 0:
        return NAN, NAN, NAN
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return (gained - lost) / n, max(-1.0, p - q - half), min(1.0, p - q + half)


@dataclass(frozen=True, slots=True)
class _Answers:
    """One model: its name, its evaluation, and a row for each image."""

    name: str
    evaluation: Evaluation
    rows: list[ResultRow]


def _check_same_images(answers: Sequence[_Answers], data: Path) -> None:
    """Refuse to hold answers for different images against each other."""
    paths = [row.path for row in answers[0].rows]
    if any([row.path for row in other.rows] != paths for other in answers[1:]):
        raise InputError(
            f"{printable(str(data))}: the images changed while the models were compared",
            hint="run the same command again",
        )


def _answer(row: ResultRow) -> str:
    return row.label if row.status == OK else f"({row.status})"


def _confidence(row: ResultRow) -> str:
    return "" if row.confidence is None else f"{row.confidence:.6f}"


def _against_first(first: _Answers, other: _Answers) -> Compared:
    n = changed = gained = lost = 0
    for before, after in zip(first.rows, other.rows, strict=True):
        changed += _answer(before) != _answer(after)
        if before.truth and before.truth == after.truth and before.status == after.status == OK:
            n += 1
            was_right, is_right = before.label == before.truth, after.label == after.truth
            gained += is_right and not was_right
            lost += was_right and not is_right
    difference, low, high = (0.0, 0.0, 0.0) if other is first else paired_difference(gained, lost, n)
    return Compared(
        name=other.name,
        evaluation=other.evaluation,
        difference=difference,
        difference_interval=(low, high),
        changed=changed,
        gained=gained,
        lost=lost,
    )


def _write_table(compared: Sequence[Compared], path: Path, options: EvaluateOptions) -> None:
    write_csv(path, COMPARE_COLUMNS, map(_compared_cells, compared), csv_safe=options.csv_safe)


def _compared_cells(c: Compared) -> list[object]:
    report, model = c.evaluation.report, c.evaluation.model
    rates = (report.accuracy, *report.accuracy_interval, c.difference, *c.difference_interval)
    return [
        c.name,
        model.contract.quantization,
        model.size_bytes,
        *map(digits, rates),
        *(c.changed, c.gained, c.lost),
        *map(digits, (model.pictures_per_s, model.run_ms)),
    ]


def _write_changed(
    names: Sequence[str], changed: Sequence[tuple[ResultRow, ...]], path: Path, options: EvaluateOptions
) -> None:
    """The images whose answers are not all the same: path, truth, then answer and confidence of each model."""
    columns = ["path", "truth", *(column for name in names for column in (name, f"{name} confidence"))]
    cells = ([rows[0].path, rows[0].truth, *_cells(rows)] for rows in changed)
    write_csv(path, columns, cells, csv_safe=options.csv_safe)


def _cells(rows: Sequence[ResultRow]) -> list[str]:
    return [cell for row in rows for cell in (_answer(row), _confidence(row))]


def _write_page(
    compared: Sequence[Compared], changed: Sequence[tuple[ResultRow, ...]], data: Path, path: Path, limits: Limits
) -> None:
    shown = []
    for rows in changed:
        first = rows[0]
        image = thumbnail(first.path, limits=limits)
        answers = [(c.name, _answer(row), _confidence(row)) for c, row in zip(compared, rows, strict=True)]
        shown.append({"path": first.path, "truth": first.truth, "answers": answers, "image": image and image.uri})
    text = template("compare.html.j2").render(
        compared=compared,
        changed=shown,
        data=data,
        style=pages.resource(*pages.PAGE_CSS),
        version=__version__,
    )
    write_text(path, text)
