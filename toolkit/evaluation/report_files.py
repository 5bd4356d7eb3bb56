"""An evaluation -> its text, CSV and JSON files. Every name of a file and a column is declared here or in `metrics`."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from toolkit import __version__
from toolkit.core.files import write_csv, write_json, write_text
from toolkit.core.text import harmless, printable
from toolkit.data.remote.urls import shown_input
from toolkit.evaluation.result import Evaluation
from toolkit.evaluation.summary import overall, per_class, title
from toolkit.metrics.classification import Average, Report
from toolkit.metrics.csv_files import digits, write_confusion_csv, write_report_csv

SCHEMA: Final = 1
PREDICTIONS_CSV: Final = "predictions.csv"
REPORT_CSV: Final = "report.csv"
REPORT_TXT: Final = "report.txt"
CONFUSION_CSV: Final = "confusion.csv"
THRESHOLDS_CSV: Final = "thresholds.csv"
METRICS_JSON: Final = "metrics.json"

THRESHOLD_COLUMNS: Final = (
    "min_confidence",
    "answered",
    "correct",
    "coverage",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
)


def write_files(evaluation: Evaluation, out: Path) -> None:
    """Write everything but predictions, plots and page into the folder `out`."""
    csv_safe = evaluation.options.csv_safe
    write_report_csv(evaluation.report, out / REPORT_CSV, csv_safe=csv_safe)
    write_confusion_csv(evaluation.confusion, out / CONFUSION_CSV, csv_safe=csv_safe)
    write_text(out / REPORT_TXT, report_text(evaluation))
    _write_thresholds(evaluation, out / THRESHOLDS_CSV)
    write_json(out / METRICS_JSON, _plain(metrics(evaluation)))


def _write_thresholds(evaluation: Evaluation, path: Path) -> None:
    rows = (
        (t.min_confidence, t.answered, t.correct, *map(digits, (t.coverage, t.accuracy, *t.accuracy_interval)))
        for t in evaluation.probabilities.thresholds()
    )
    write_csv(path, THRESHOLD_COLUMNS, rows)


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """What `metrics.json` holds: schema 1. Later versions add keys, and change none without a new schema."""
    model, data, report = evaluation.model, evaluation.data, evaluation.report
    return {
        "schema": SCHEMA,
        "toolkit": __version__,
        "model": {
            "path": printable(str(model.path)),
            "size_bytes": model.size_bytes,
            "sha256": model.fingerprint,
            "device": model.device,
            "arithmetic": model.arithmetic,
            "contract": model.contract.to_dict(),
        },
        "data": {
            "path": shown_input(data.path),
            "files": data.n_files,
            "labelled": data.n_labelled,
            "answered": report.support,
            "correct": report.correct,
            "unsure": report.unsure,
            "errors": report.errors,
            "passed_over": data.passed_over.others,
            "passed_over_suffixes": dict(sorted(data.passed_over.suffixes.items())),
            "passed_over_hidden": data.passed_over.hidden,
            "trained_on": data.n_trained_on,
            "missing_classes": list(data.missing),
            "extra_classes": dict(sorted(data.extra.items())),
        },
        "settings": {"min_confidence": evaluation.options.min_confidence},
        "figures": overall(evaluation),
        "classes": per_class(evaluation),
        "calibration": [
            {"low": b.low, "high": b.high, "n": b.n, "confidence": b.confidence, "accuracy": b.accuracy}
            for b in evaluation.probabilities.calibration()
        ],
        "speed": {"pictures_per_s": model.pictures_per_s, "run_ms": model.run_ms},
        "notes": list(evaluation.notes),
    }


def _plain(value: Any) -> Any:
    """Numbers with ten decimals at most, None where a metric is undefined."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 10)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def report_text(evaluation: Evaluation) -> str:
    """What `report.txt` holds: scikit-learn's classification report, then what it lacks."""
    report, model, data = evaluation.report, evaluation.model, evaluation.data
    lines = [
        f"model  {printable(str(model.path))}  ({model.contract.quantization}, {model.size_bytes:,} bytes)",
        f"data   {shown_input(data.path)}  ({data.n_files:,} images)",
        "",
        classification_report(report),
        "",
    ]
    low, high = report.accuracy_interval
    lines.append(f"{'accuracy, 95 % interval':<28}{number(low)} to {number(high)}")
    names = [
        n for n in overall(evaluation) if not n.startswith(("accuracy", "macro_p", "macro_r", "macro_f", "weight"))
    ]
    names += [n for n in ("macro_roc_auc",) if evaluation.curves and n not in names]
    lines += [f"{title(name):<28}{number(overall(evaluation)[name])}" for name in names]
    lines.append(f"{'Without an answer':<28}{report.unsure:,} unsure, {report.errors:,} unreadable")
    lines += ["", *_confusion_lines(evaluation)]
    lines += [f"Note: {note}" for note in evaluation.notes]
    return "\n".join(lines).rstrip() + "\n"


def classification_report(report: Report, decimals: int = 4) -> str:
    """The layout of scikit-learn's function of this name; `-` for classes that are neither true nor predicted."""
    names = [one_line(c.label) for c in report.classes]
    width = max(*map(_columns, names), len("weighted avg"))
    head = " ".join(["", *(f"{name:>9}" for name in ("precision", "recall", "f1-score", "support"))])
    lines = [" " * width + " " + head, ""]
    for name, c in zip(names, report.classes, strict=True):
        lines.append(_row(name, (c.precision, c.recall, c.f1), c.support, width, decimals))
    n = report.support
    accuracy = f"{number(report.accuracy, decimals):>9}"
    lines += ["", f"{'accuracy':>{width}}  {'':>9} {'':>9} {accuracy} {n:>9}"]
    for name, average in (("macro avg", report.macro), ("weighted avg", report.weighted)):
        lines.append(_row(name, _rates(average), n, width, decimals))
    return "\n".join(lines)


def _rates(average: Average) -> tuple[float, float, float]:
    return average.precision, average.recall, average.f1


def _row(name: str, rates: tuple[float, float, float], support: int, width: int, decimals: int) -> str:
    cells = " ".join(f"{number(rate, decimals):>9}" for rate in rates)
    return f"{' ' * (width - _columns(name))}{name}  {cells} {support:>9}"


def number(value: float, decimals: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def one_line(name: str) -> str:
    """A class name that stays in its line.

    >>> one_line("a\\nb")
    'a b'
    """
    return harmless(" ".join(printable(name).split()))


def _columns(text: str) -> int:
    """How many columns of a terminal `text` takes: Korean, Chinese and Japanese letters take two."""
    return sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in unicodedata.normalize("NFC", text)
    )


def _confusion_lines(evaluation: Evaluation, limit: int = 10) -> Iterator[str]:
    from toolkit.plotting.confusion import frequent_confusions

    labels = evaluation.labels
    pairs = frequent_confusions(evaluation.confusion, limit)
    if pairs:
        yield "Most frequent confusions (true -> predicted)"
        for t, p, n in pairs:
            support = int(evaluation.confusion.counts[t].sum())
            yield f"{n:>9,}  {one_line(labels[t])} -> {one_line(labels[p])} ({100 * n / support:.1f} % of {support:,})"
        yield ""
