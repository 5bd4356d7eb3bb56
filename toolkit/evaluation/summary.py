"""An evaluation's numbers by name: the terminal, `metrics.json`, the page and the gates all take them from here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from toolkit.core.errors import GateError, UsageError
from toolkit.evaluation.result import Evaluation
from toolkit.metrics.classification import NAN, single_figures

TOP_K: Final = (2, 3, 5, 10)
"""k of the top-k accuracies, where there are more classes than that."""

TITLES: Final = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "cohen_kappa": "Cohen's kappa",
    "matthews_correlation": "Matthews correlation",
    "coverage": "Coverage",
    "log_loss": "Log loss",
    "expected_calibration_error": "Expected calibration error",
    "mean_confidence": "Mean confidence",
    "macro_average_precision": "Mean average precision",
    "macro_roc_auc": "Mean ROC AUC",
}
"""What reports call the metrics that stand alone; top-k accuracies are added by `title`."""

_NOT_GATED: Final = ("log_loss", "expected_calibration_error", "accuracy_low", "accuracy_high")
_CLASS_GATES: Final = ("precision", "recall", "f1", "average_precision", "roc_auc")


def overall(evaluation: Evaluation) -> dict[str, float]:
    """Every metric about the whole, by its name in `metrics.json`; NaN where it is undefined."""
    report, tally = evaluation.report, evaluation.probabilities
    figures = single_figures(report)
    for name, average in (("macro", report.macro), ("weighted", report.weighted)):
        figures |= {f"{name}_{part}": getattr(average, part) for part in ("precision", "recall", "f1")}
    figures |= {f"top_{k}_accuracy": tally.top_k_accuracy(k) for k in TOP_K if k < len(evaluation.labels)}
    figures |= {
        "log_loss": tally.log_loss,
        "expected_calibration_error": tally.expected_calibration_error,
        "mean_confidence": tally.mean_confidence,
    }
    if evaluation.curves:
        figures["macro_average_precision"] = _mean([c.average_precision for c in evaluation.curves])
        figures["macro_roc_auc"] = _mean([c.roc_auc for c in evaluation.curves])
    return figures


def per_class(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Every metric of each class, in the model's order; NaN where it is undefined."""
    rows: list[dict[str, Any]] = []
    for index, c in enumerate(evaluation.report.classes):
        row: dict[str, Any] = {
            "label": c.label,
            "precision": c.precision,
            "recall": c.recall,
            "f1": c.f1,
            "support": c.support,
            "predicted": c.predicted,
            "correct": c.correct,
            "unsure": c.unsure,
            "errors": c.errors,
            "precision_interval": list(c.precision_interval),
            "recall_interval": list(c.recall_interval),
        }
        if evaluation.curves:
            row["average_precision"] = evaluation.curves[index].average_precision
            row["roc_auc"] = evaluation.curves[index].roc_auc
        rows.append(row)
    return rows


def title(name: str) -> str:
    """What reports call the metric `name`.

    >>> title("cohen_kappa"), title("top_5_accuracy")
    ("Cohen's kappa", 'Top-5 accuracy')
    """
    if name in TITLES:
        return TITLES[name]
    if match := re.fullmatch(r"top_(\d+)_accuracy", name):
        return f"Top-{match[1]} accuracy"
    return name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit that a metric must not fall below.

    Attributes:
        figure: name of a metric about the whole, or of a metric of a class.
        label: the class, "" for the whole.
        limit: the least that passes.
    """

    figure: str
    label: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure}:{self.label}" if self.label else self.figure


_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_GATE: Final = re.compile(rf"([a-z][a-z0-9_]*)(?::(.+?))?=({_NUMBER})(?:,(?=[a-z][a-z0-9_]*[:=])|$)", re.DOTALL)


def parse_gates(text: str) -> list[Gate]:
    """Read `accuracy=0.9,recall:Dog=0.85`. A class name may hold any character but what would end its gate.

    Raises:
        UsageError: not of that form.

    >>> [str(gate) for gate in parse_gates("accuracy=0.9,recall:Dog=0.85")]
    ['accuracy', 'recall:Dog']
    """
    gates: list[Gate] = []
    at = 0
    while at < len(text):
        match = _GATE.match(text, at)
        if match is None:
            raise UsageError(
                f"--fail-under {text!r}: expected METRIC=LIMIT or METRIC:CLASS=LIMIT, found {text[at:]!r}",
                hint="for example --fail-under accuracy=0.9,recall:Dog=0.85",
            )
        gate = Gate(match[1], match[2] or "", float(match[3]))
        if not gate.limit <= 1:
            raise UsageError(
                f"--fail-under {gate}={gate.limit:g}: can never hold, because no metric is larger than 1",
                hint=f"90 % is 0.9: --fail-under {gate}=0.9",
            )
        gates.append(gate)
        at = match.end()
    return gates


def check_names(gates: list[Gate], labels: tuple[str, ...]) -> None:
    """Refuse gates on unknown metrics or classes, before hours of work.

    Raises:
        UsageError: an unknown metric or class.
    """
    from difflib import get_close_matches

    tops = tuple(f"top_{k}_accuracy" for k in TOP_K if k < len(labels))
    averages = tuple(f"{a}_{part}" for a in ("macro", "weighted") for part in ("precision", "recall", "f1"))
    whole = tuple(name for name in dict.fromkeys((*TITLES, *averages, *tops)) if name not in _NOT_GATED)
    for gate in gates:
        known = _CLASS_GATES if gate.label else whole
        for value, names, what in ((gate.figure, known, "metric"), (gate.label, labels, "class")):
            if value and value not in names:
                close = get_close_matches(value, names, 1)
                meant = f"did you mean {close[0]!r}? " if close else ""
                shown = f"known are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
                raise UsageError(f"--fail-under {gate}: there is no {what} {value!r}", hint=meant + shown)


def failed_gates(gates: list[Gate], evaluation: Evaluation) -> list[str]:
    """What each gate that fails has found; a gate on an undefined metric fails."""
    classes = {row["label"]: row for row in per_class(evaluation)}
    whole = overall(evaluation)
    failed = []
    for gate in gates:
        value = (classes[gate.label] if gate.label else whole).get(gate.figure, NAN)
        if not value >= gate.limit:
            failed.append(f"{gate} is {'undefined' if math.isnan(value) else format(value, '.4f')}, under {gate.limit}")
    return failed


def check_gates(gates: list[Gate], evaluations: list[Evaluation]) -> None:
    """Hold every evaluation against every gate.

    Raises:
        GateError: at least one does not hold.
    """
    failed = []
    for evaluation in evaluations:
        prefix = f"{evaluation.model.path}: " if len(evaluations) > 1 else ""
        failed += [prefix + text for text in failed_gates(gates, evaluation)]
    if failed:
        raise GateError("; ".join(failed), hint="the report shows which images are wrong")


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else NAN
