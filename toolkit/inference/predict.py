"""Samples -> predictions and rows: how they are cut into batches, and which workers take them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Final

from toolkit.core.errors import UsageError
from toolkit.core.machine import usable_cpus
from toolkit.core.parallel import CAN_FORK, Processes, in_threads
from toolkit.core.progress import SILENT, Progress
from toolkit.data.walk import Sample
from toolkit.images.decode import MAX_PIXELS
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.labeller import BatchResult, Labeller
from toolkit.inference.result_table import Layout, Row
from toolkit.inference.session import (
    Device,
    Precision,
    Probabilities,
    Runtime,
    Session,
    check_backend,
    open_session,
)

ROWS_VERSION: Final = 1
"""Raised when the same model and options give other rows than before."""

CPU_BATCH_VALUES: Final = 500_000
"""About how many input values a run on the CPU is given, so that its activations stay in the cache."""

CPU_WEIGHT_BYTES: Final = 4 << 20
"""About how many bytes of weights a picture may cost: a large network is given more pictures at once."""

FORK_VALUES: Final = 16_000
"""Input values a worker below which its Python holds the others up: about 50 us a picture, at 30 ns a value."""

GPU_BATCH: Final = 128


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """How many files may fail: a number, or a percentage of all.

    >>> MaxFailures.parse("2%").allowed(500)
    10
    """

    value: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """Read `N` or `P%`.

        Raises:
            UsageError: neither.
        """
        try:
            percent = text.endswith("%")
            value = float(text.removesuffix("%")) if percent else int(text)
        except ValueError:
            value = -1
        if not 0 <= value < float("inf") or (percent and value > 100):
            raise UsageError(f"--max-failures {text}: expected a number of files, or a percentage such as 1%")
        return cls(value, percent)

    def allowed(self, n_files: int) -> int:
        """The most failures among `n_files`."""
        return int(n_files * self.value / 100) if self.percent else int(self.value)


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """How to label.

    Attributes:
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU; "cuda:0,1" shares the work among GPUs.
        runtime, precision: what runs the model, and how exactly; rows of one arithmetic are no rows of another.
        top_k: how many labels in a row.
        probabilities: a column for every class.
        min_confidence: below it a row is `unsure`.
        update: rows of unchanged files in the result file are kept.
        max_failures: `InferResult.check` raises above it; None: only if every file fails.
        batch_size, workers: None chooses from the machine and the model.
        processes: workers may be forked where that is faster; only for a program without other threads.
        max_pixels: larger pictures are refused from their header.
    """

    device: Device = "auto"
    runtime: Runtime = "auto"
    precision: Precision = "exact"
    top_k: int = 1
    probabilities: bool = False
    min_confidence: float = 0.0
    update: bool = False
    max_failures: MaxFailures | None = None
    batch_size: int | None = None
    workers: int | None = None
    processes: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, value in (("top-k", self.top_k), ("batch-size", self.batch_size), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: expected 1 or more")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: expected 0 to 1")
        check_backend(self.device, self.runtime, self.precision)

    def open(self, model: Path) -> Session:
        """The model, for workers that run it on one thread each."""
        return open_session(model, device=self.device, threads=1, runtime=self.runtime, precision=self.precision)


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


def make_labeller(session: Session, options: InferOptions) -> Labeller:
    """A labeller whose batches suit the device and the model. Their sizes are never a matter of the load.

    On the CPU the session is given 4..64 pictures at once, fewer the larger they are and the smaller the network, and a
    worker decodes four times as many before it runs them: going to and fro between the two empties the caches.
    """
    if options.batch_size is not None:
        size, run = options.batch_size, None
    elif session.device != "cpu":
        size, run = GPU_BATCH, None
    else:
        fitting = CPU_BATCH_VALUES // prod(session.contract.preprocess.shape)
        worthwhile = min(16, -(-session.n_bytes // CPU_WEIGHT_BYTES))
        run = max(4, min(64, _power_of_two(fitting)), 2 * _power_of_two(worthwhile - 1))
        size = 4 * run
    return Labeller(session, max_pixels=options.max_pixels, batch_size=size, run_size=run)


def _power_of_two(n: int) -> int:
    """The largest power of two up to `n`; 0 for less than 1."""
    return 1 << n.bit_length() - 1 if n > 0 else 0


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
    session = options.open(model)
    labeller = make_labeller(session, options)
    progress.start("labelling")
    workers = options.workers or usable_cpus()
    try:
        with one_opencv_thread():
            for result in in_threads(labeller, batches(samples, labeller.batch_size), workers):
                yield from predictions(result)
                progress.advance(len(result.samples))
    finally:
        progress.finish()


def predictions(result: BatchResult) -> Iterator[Prediction]:
    """A batch, sample by sample."""
    for sample, error, probabilities in zip(result.samples, result.errors, result.probabilities, strict=True):
        yield Prediction(sample, None if error else probabilities, error)


def layout(session: Session, options: InferOptions) -> Layout:
    """The columns of a run, and the fingerprint of everything that its rows depend on but the files.

    Raises:
        UsageError: more labels are asked for than the model has classes.
    """
    contract = session.contract
    if options.top_k > len(contract.labels):
        raise UsageError(f"--top-k {options.top_k}: the model has {len(contract.labels)} classes")
    settings: list[object] = [options.top_k, options.probabilities, options.min_confidence, options.max_pixels]
    if session.arithmetic:
        settings.append(session.arithmetic)
    digest = hashlib.sha256(json.dumps([ROWS_VERSION, session.fingerprint, *settings]).encode()).hexdigest()
    return Layout(
        contract=contract,
        model=digest[:12],
        top_k=options.top_k,
        probabilities=options.probabilities,
        min_confidence=options.min_confidence,
    )


RowWorkers = Callable[[Iterator[list[Sample]]], Iterator[list[Row]]]
"""Batches -> the rows of each, in order."""


@contextmanager
def row_workers(table: Layout, labeller: Labeller, options: InferOptions, *, n_batches: int) -> Iterator[RowWorkers]:
    """Workers for at least `n_batches`: processes where they may be and Python's share is large, else threads."""

    def rows(samples: list[Sample]) -> list[Row]:
        return table.rows(labeller(samples)) if samples else []

    workers = options.workers or usable_cpus()
    tiny = prod(table.contract.preprocess.shape) < FORK_VALUES * workers
    if options.processes and CAN_FORK and tiny and labeller.may_fork and n_batches >= workers > 1:
        with one_opencv_thread(), Processes(rows, workers) as processes:
            yield processes.map
    else:
        with one_opencv_thread():
            yield lambda items: in_threads(rows, items, workers)
