"""Samples -> predictions and rows: how they are cut into batches, and which workers take them."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, Final, TypeVar

from toolkit.core.errors import UsageError
from toolkit.core.files import file_digest
from toolkit.core.parallel import CAN_FORK, Processes, in_threads
from toolkit.core.progress import SILENT, Progress
from toolkit.data.detections import read_detections
from toolkit.data.walk import Sample
from toolkit.images.limits import Limits
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.extra_columns import DETECTION, EXIF
from toolkit.inference.inputs import STDIN, Inputs
from toolkit.inference.labeller import Labeller, Prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.result_table import CSV_SAFE, Layout, ResultRow
from toolkit.sessions.open_session import open_session
from toolkit.sessions.session import Session

Item = TypeVar("Item")

ROWS_VERSION: Final = 2
"""Raised when the same model and options give other rows than before."""

CPU_BATCH_VALUES: Final = 500_000
"""About how many input values a run on the CPU is given, so that its activations stay in the cache."""

CPU_WEIGHT_BYTES: Final = 4 << 20
"""About how many bytes of weights an image may cost: a large network is given more images at once."""

FORK_VALUES: Final = 16_000
"""Input values a worker below which its Python holds the others up: about 50 us an image, at 30 ns a value."""

GPU_BATCH: Final = 128


def open_model(model: Path, options: InferOptions) -> Session:
    """The model, for workers that run it on one thread each.

    Raises:
        ModelError, MachineError: the model cannot be run.
    """
    return open_session(model, device=options.device, threads=1, runtime=options.runtime, precision=options.precision)


def make_labeller(session: Session, options: InferOptions) -> Labeller:
    """A labeller whose batches suit the device and the model. Their sizes are never a matter of the load.

    On the CPU the session is given 4..64 images at once, fewer the larger they are and the smaller the network, and a
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
    limits = Limits.of(options.max_pixels, options.max_memory)
    return Labeller(session, limits=limits, batch_size=size, run_size=run, exif=options.exif, even=True)


def _power_of_two(n: int) -> int:
    """The largest power of two up to `n`; 0 for less than 1."""
    return 1 << n.bit_length() - 1 if n > 0 else 0


def with_detections(inputs: Inputs, options: InferOptions) -> Inputs:
    """`inputs` with a sample for each detection, where a file of detections is given.

    Raises:
        InputError: it is missing or holds something else.
    """
    if options.detections is None:
        return inputs
    folders = [path for path in inputs.paths if path != STDIN]
    return replace(inputs, detections=read_detections(options.detections, options.min_detection, folders))


def batches(samples: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut samples at every `size`-th."""
    samples = iter(samples)
    while batch := list(islice(samples, size)):
        yield batch


def predict(
    samples: Iterable[Sample], session: Session, options: InferOptions | None = None, progress: Progress = SILENT
) -> Iterator[Prediction]:
    """Label a stream of samples: exactly one prediction for each, in their order."""
    options = options or InferOptions()
    labeller = make_labeller(session, options)
    progress.start("labelling")
    workers = options.n_workers
    try:
        with one_opencv_thread():
            work = labeller.ahead.batches(batches(samples, labeller.batch_size))
            for result in in_threads(labeller, work, workers):
                yield from result
                progress.advance(len(result))
    finally:
        labeller.ahead.close()
        progress.finish()


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
    if options.detections is not None:
        settings.append("detections")
    digest = hashlib.sha256(json.dumps([ROWS_VERSION, session.fingerprint, *settings]).encode()).hexdigest()
    return Layout(
        contract=contract,
        model=digest[:12] + (CSV_SAFE if options.csv_safe else ""),
        top_k=options.top_k,
        probabilities=options.probabilities,
        min_confidence=options.min_confidence,
        csv_safe=options.csv_safe,
        extra=(DETECTION,) * (options.detections is not None) + (EXIF,) * options.exif,
    )


def described(inputs: Inputs, session: Session, table: Layout, options: InferOptions) -> dict[str, Any]:
    """The inputs, and everything that rows depend on but the files, in plain types: for what lies beside a result."""
    file = {"contract": session.contract.to_dict(), "sha256": session.fingerprint, "arithmetic": session.arithmetic}
    names = ("top_k", "probabilities", "min_confidence", "max_pixels", "exif", "csv_safe")
    settings = {name: getattr(options, name) for name in names}
    if options.detections is not None:
        settings |= {"detections": file_digest(options.detections), "min_detection": options.min_detection}
    return {"inputs": inputs.shown, "model": file, "options": settings, "fingerprint": table.model}


RowWorkers = Callable[[Iterator[list[Sample]]], Iterator[list[ResultRow]]]
"""Batches -> the rows of each, in order."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of the ordered inputs: the samples that are to be labelled, in the place of the others their rows."""

    items: Sequence[Sample | ResultRow]

    @property
    def missing(self) -> list[Sample]:
        """The samples that are to be labelled."""
        return [item for item in self.items if isinstance(item, Sample)]

    def completed(self, rows: list[ResultRow]) -> list[ResultRow]:
        """All rows of the batch, in order; `rows` are those of `missing`."""
        new = iter(rows)
        return [next(new) if isinstance(item, Sample) else item for item in self.items]


AnyWork = TypeVar("AnyWork", bound=Work)


def labelled(todo: Iterable[AnyWork], label: RowWorkers) -> Iterator[tuple[AnyWork, list[ResultRow]]]:
    """Each batch with the rows of what was missing in it, in order."""
    under_way: deque[AnyWork] = deque()

    def missing() -> Iterator[list[Sample]]:
        for batch in todo:
            under_way.append(batch)
            yield batch.missing

    for new in label(missing()):
        yield under_way.popleft(), new


@contextmanager
def row_workers(
    table: Layout, labeller: Labeller, options: InferOptions, *, n_batches: int, remote: bool = False
) -> Iterator[RowWorkers]:
    """Workers for at least `n_batches`: processes where they may be and Python's share is large, else threads.

    Args:
        remote: images come from other machines; what reads them has threads of its own, and is not forked.
    """

    def rows(samples: list[Sample]) -> list[ResultRow]:
        return table.rows(labeller(samples)) if samples else []

    workers = options.n_workers
    tiny = prod(table.contract.preprocess.shape) < FORK_VALUES * workers
    if options.processes and not remote and CAN_FORK and tiny and labeller.may_fork and n_batches >= workers > 1:
        labeller.limits = Limits.of(options.max_pixels, options.max_memory, processes=workers)
        with one_opencv_thread(), Processes(rows, workers) as processes:
            yield processes.map
    else:
        with one_opencv_thread():
            try:
                yield lambda items: in_threads(rows, labeller.ahead.batches(items), workers)
            finally:
                labeller.ahead.close()
