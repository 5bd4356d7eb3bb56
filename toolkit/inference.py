"""Samples -> predictions -> a result file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from toolkit.errors import GateError, InputError, UsageError
from toolkit.files import atomic_write
from toolkit.inputs import Counts, Inputs
from toolkit.metrics import ConfusionMatrix, report, write_confusion_csv, write_report_csv
from toolkit.pipeline import BatchResult, Labeller, OrderedMap, one_opencv_thread
from toolkit.preprocess import MAX_PIXELS
from toolkit.progress import SILENT, Progress
from toolkit.scan import Sample, printable
from toolkit.session import Device, Probabilities, Session, open_session
from toolkit.tables import ERROR, OK, UNSURE, Layout, Row, encode, side_path


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """How to label; none of it changes what is read.

    Attributes:
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU.
        top_k: how many labels in a row.
        probabilities: a column for every class.
        min_confidence: below it a row is `unsure`.
        max_failures: more failed files than this make `InferResult.check` raise; None: only if all fail.
        max_failures_percent: the same as a share of the files, 0..100.
        batch_size, workers: None chooses from the machine and the model.
        max_pixels: larger pictures are refused from their header.
    """

    device: Device = "auto"
    top_k: int = 1
    probabilities: bool = False
    min_confidence: float = 0.0
    max_failures: int | None = None
    max_failures_percent: float | None = None
    batch_size: int | None = None
    workers: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, value in (("top_k", self.top_k), ("batch_size", self.batch_size), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', '-')} {value}: expected 1 or more")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min-confidence {self.min_confidence}: expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What came of one sample.

    Attributes:
        sample: the input, with the size and time of the bytes that were read.
        probabilities: float32 (K,), sums to 1; None where there is an error.
        error: why there is no answer; "" where there is one.
    """

    sample: Sample
    probabilities: Probabilities | None
    error: str


@dataclass(slots=True)
class InferResult:
    """What a run did.

    Attributes:
        out: the result file.
        n_files: rows in it.
        n_ok, n_unsure, n_errors: rows of each status.
        counts: files in folders that were passed over.
        device: where the model ran; `note` says why not where it was wished to.
        confusion: truth against prediction, None where the inputs lie in no class folders.
        complete: False where the run was stopped; the next one continues.
    """

    out: Path
    device: str
    note: str
    n_files: int = 0
    n_ok: int = 0
    n_unsure: int = 0
    n_errors: int = 0
    counts: Counts = field(default_factory=Counts)
    confusion: ConfusionMatrix | None = None
    complete: bool = True

    def check(self, options: InferOptions) -> None:
        """Hold the failures against what the options allow.

        Raises:
            GateError: more files failed than that, or all.
        """
        hint = f"see the rows with status {ERROR} in {printable(str(self.out))}"
        if self.n_files and self.n_errors == self.n_files:
            raise GateError(f"all {self.n_files:,} files failed", hint=hint)
        allowed = options.max_failures
        if options.max_failures_percent is not None:
            allowed = int(self.n_files * options.max_failures_percent / 100)
        if allowed is not None and self.n_errors > allowed:
            raise GateError(f"{self.n_errors:,} of {self.n_files:,} files failed, allowed were {allowed:,}", hint=hint)


def choose_batch_size(session: Session, options: InferOptions) -> int:
    """Samples in a batch: small on the CPU, where activations then stay in its cache, large on a GPU."""
    if options.batch_size is not None:
        return options.batch_size
    if session.device != "cpu":
        return 128
    height, width, channels = session.contract.preprocess.shape
    return int(np.clip(2 ** int(np.log2(1 + 1_000_000 / (height * width * channels))), 4, 64))


def choose_workers(options: InferOptions) -> int:
    """Worker threads: as many as this process may run at once."""
    import os

    return options.workers or len(os.sched_getaffinity(0))


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Cut samples at every `size`-th."""
    samples = iter(samples)
    while batch := list(islice(samples, size)):
        yield batch


def predict(
    samples: Iterable[Sample], model: Path, options: InferOptions | None = None, progress: Progress = SILENT
) -> Iterator[Prediction]:
    """Label a stream of samples: exactly one prediction for each, in their order.

    Raises:
        ModelError, MachineError: the model cannot be run.
    """
    options = options or InferOptions()
    session = open_session(model, device=options.device, threads=1)
    progress.start("labelling")
    try:
        for result in _results(batches(samples, choose_batch_size(session, options)), session, options):
            for i, (sample, error) in enumerate(zip(result.samples, result.errors, strict=True)):
                yield Prediction(sample, None if error else result.probabilities[i], error)
            progress.advance(len(result.samples))
    finally:
        progress.finish()


def _results(work: Iterator[list[Sample]], session: Session, options: InferOptions) -> Iterator[BatchResult]:
    labeller = Labeller(session, max_pixels=options.max_pixels, batch_size=choose_batch_size(session, options))
    with one_opencv_thread(), OrderedMap(labeller, work, choose_workers(options)) as results:
        yield from results


def layout(session: Session, options: InferOptions) -> Layout:
    """The columns of a run, and the fingerprint of everything that its rows depend on but the files."""
    contract = session.contract
    if options.top_k > len(contract.labels):
        raise UsageError(f"--top-k {options.top_k}: the model knows {len(contract.labels)} classes")
    settings = [1, session.fingerprint, options.top_k, options.probabilities, options.min_confidence]
    settings.append(options.max_pixels)
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    return Layout(
        contract=contract,
        model=digest[:12],
        top_k=options.top_k,
        probabilities=options.probabilities,
        min_confidence=options.min_confidence,
    )


def infer(
    inputs: Inputs,
    out: Path,
    model: Path,
    options: InferOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> InferResult:
    """Label files and folders into a result file, one row for each file.

    Beside it `<out stem>.report.csv` and `<out stem>.confusion.csv` are written where the files lie in folders named
    like the model's classes.

    Raises:
        InputError: an input is missing or holds no picture.
        ModelError, MachineError: the model cannot be run.
    """
    options = options or InferOptions()
    session = open_session(model, device=options.device, threads=1)
    table = layout(session, options)
    result = InferResult(out=out, device=session.device, note=session.note)
    tally = Tally(result, ConfusionMatrix(table.labels))
    samples = inputs.samples(result.counts)
    progress.start("labelling")
    try:
        with atomic_write(out) as partial, partial.open("wb") as file:
            file.write(encode([table.columns]))
            for batch in _results(batches(samples, choose_batch_size(session, options)), session, options):
                rows = table.rows(batch)
                file.write(encode(rows))
                tally.add(rows)
                progress.advance(len(rows))
            if not result.n_files:
                raise nothing_found(inputs, result.counts)
    finally:
        progress.finish()
    tally.write(out)
    return result


def nothing_found(inputs: Inputs, counts: Counts) -> InputError:
    """The error for inputs without a single file to label."""
    named = " ".join(printable(path) for path in inputs.paths)
    passed = (
        f" ({counts.others:,} other files, {counts.excluded:,} excluded)" if counts.others + counts.excluded else ""
    )
    return InputError(f"{named}: expected pictures, found none{passed}", hint="check the path and the patterns")


class Tally:
    """Counts rows into a result, truth against prediction among them."""

    def __init__(self, result: InferResult, confusion: ConfusionMatrix) -> None:
        self._result = result
        self._confusion = confusion

    def add(self, rows: list[Row]) -> None:
        """Count whole rows."""
        result = self._result
        result.n_files += len(rows)
        for row in rows:
            truth, status = row[-6], row[-5]
            result.n_ok += status == OK
            result.n_unsure += status == UNSURE
            result.n_errors += status == ERROR
            if truth:
                self._confusion.add_row(truth=truth, label=row[1], status=status)
                result.confusion = self._confusion

    def write(self, out: Path) -> None:
        """Write report and confusion beside `out`, where any row has a truth."""
        if self._result.confusion is not None:
            write_report_csv(report(self._confusion), side_path(out, "report.csv"))
            write_confusion_csv(self._confusion, side_path(out, "confusion.csv"))
