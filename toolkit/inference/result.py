"""What a run did, counted row by row; report and confusion lie beside the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core.errors import GateError
from toolkit.core.ownership import claim
from toolkit.core.text import printable
from toolkit.data.passed_over import PassedOver
from toolkit.data.remote.urls import is_remote
from toolkit.data.walk import require_read
from toolkit.inference.options import MaxFailures
from toolkit.inference.result_table import EMPTY, ERROR, OK, UNSURE, ResultRow, side_path
from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.csv_files import is_confusion_csv, is_report_csv, write_confusion_csv, write_report_csv


@dataclass(kw_only=True, slots=True)
class InferResult:
    """What a run did.

    Attributes:
        out: the result file.
        device: where the model ran, "cpu" or "cuda"; `note` says why not where it was wished to.
        arithmetic: such as "openvino bfloat16"; "" for the file's own runtime, exact.
        n_files: rows in the result; n_ok, n_unsure, n_errors, n_empty: of each status.
        detections: rows stand for what a detector saw, not for files.
        labels: label -> rows with it.
        n_continued: rows that a stopped run had left.
        n_kept: rows of unchanged files that `update` kept.
        n_gone: rows of the file that was updated whose file is not among the inputs any more.
        redone: `update` found rows of another model or other options, and did everything again.
        n_shards: whose results were merged; 0 for a run of its own.
        complete: False where the run was stopped; the same call continues it.
        unread: folders that could not be read; each has a row.
        counts: files in folders that were passed over.
        confusion: truth against prediction; None where no input lies in a class folder.
    """

    out: Path
    device: str
    note: str
    arithmetic: str = ""
    n_files: int = 0
    n_ok: int = 0
    n_unsure: int = 0
    n_errors: int = 0
    n_empty: int = 0
    detections: bool = False
    labels: Counter[str] = field(default_factory=Counter)
    n_continued: int = 0
    n_kept: int = 0
    n_gone: int = 0
    redone: bool = False
    n_shards: int = 0
    complete: bool = True
    counts: PassedOver = field(default_factory=PassedOver)
    confusion: ConfusionMatrix | None = None
    unread: list[str] = field(default_factory=list)

    @property
    def n_new(self) -> int:
        """Rows of files that this run read."""
        return self.n_files - self.n_continued - self.n_kept

    def count(self, row: ResultRow) -> None:
        """One more row."""
        self.n_files += 1
        if row.status == OK:
            self.n_ok += 1
            self.labels[row.label] += 1
        elif row.status == UNSURE:
            self.n_unsure += 1
        elif row.status == EMPTY:
            self.n_empty += 1
        else:
            self.n_errors += 1

    def check(self, max_failures: MaxFailures | None) -> None:
        """Hold the failed files against what is allowed.

        Raises:
            GateError: more failed than that, or all of them; or a folder could not be read.
        """
        where = "above" if str(self.out) == "-" else f"with status {ERROR} in {printable(str(self.out))}"
        hint = f"see the rows {where}"
        require_read(self.unread)
        if self.n_files and self.n_errors == self.n_files:
            every = "the only file" if self.n_files == 1 else f"all {self.n_files:,} files"
            raise GateError(f"{every} failed", hint=hint)
        if max_failures is not None and self.n_errors > max_failures.allowed(self.n_files):
            allowed = max_failures.allowed(self.n_files)
            raise GateError(f"{self.n_errors:,} of {self.n_files:,} files failed, {allowed:,} were allowed", hint=hint)


class Tally:
    """Counts the rows of a run into its result, and writes report and confusion from what it counted.

    Args:
        result: is kept up to date.
        labels: the class names as the rows show them.
        csv_safe: no cell of report and confusion is a formula to a spreadsheet.
    """

    def __init__(self, result: InferResult, labels: tuple[str, ...], *, csv_safe: bool = False) -> None:
        self._csv_safe = csv_safe
        self._result = result
        self._known = frozenset(labels)
        self._confusion = ConfusionMatrix(labels)

    def count(self, rows: Iterable[ResultRow]) -> None:
        """More rows."""
        result = self._result
        for row in rows:
            result.count(row)
            if row.path.endswith("/") and not is_remote(row.path):
                result.unread.append(row.path)
            if row.truth and row.status != EMPTY and (row.status != OK or row.label in self._known):
                self._confusion.add_row(truth=row.truth, label=row.label, status=row.status)
                result.confusion = self._confusion

    def write(self) -> None:
        """Write report and confusion beside the result where any row has a truth; else none may lie there."""
        out = self._result.out
        if self._result.confusion is not None:
            write_report_csv(compute_report(self._confusion), side_path(out, "report.csv"), csv_safe=self._csv_safe)
            write_confusion_csv(self._confusion, side_path(out, "confusion.csv"), csv_safe=self._csv_safe)
        else:  # those of an earlier run would be about other rows
            for kind in ("report.csv", "confusion.csv"):
                side_path(out, kind).unlink(missing_ok=True)


def claim_reports(out: Path, *, force: bool) -> None:
    """Make sure that report and confusion may be written beside `out`.

    Raises:
        InputError: one of the two is not ours.
    """
    claim(side_path(out, "report.csv"), is_report_csv, force=force)
    claim(side_path(out, "confusion.csv"), is_confusion_csv, force=force)
