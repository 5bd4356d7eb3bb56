"""Inputs -> rows as they come, for a terminal or a pipe; nothing is written and nothing continued."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from toolkit.core.parallel import in_threads
from toolkit.core.progress import SILENT, Progress
from toolkit.data.walk import Sample
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.infer import counted_ahead, nothing_found, until
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, layout, make_labeller, open_model, with_detections
from toolkit.inference.result import InferResult
from toolkit.inference.result_table import Layout, ResultRow

STDOUT: Final = Path("-")
"""What stands for stdout in the place of a result file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowStream:
    """The rows of a run.

    Attributes:
        table: the columns.
        result: is kept up to date while `rows` are taken.
        rows: one for each file, in the order of the inputs.
    """

    table: Layout
    result: InferResult
    rows: Iterator[ResultRow]


def stream(
    inputs: Inputs,
    model: Path,
    options: InferOptions | None = None,
    *,
    most: int | None = None,
    progress: Progress = SILENT,
    stop: threading.Event | None = None,
) -> RowStream:
    """Label files and folders, row by row.

    Args:
        most: as many labels a row as the model has classes, at most this; None takes `options.top_k`.
        stop: once set, no more files are begun and the result is not `complete`.

    Raises:
        UsageError: the options do not fit the model.
        InputError: an input is missing, or, while rows are taken, holds no image.
        ModelError, MachineError: the model cannot be run.
    """
    options = options or InferOptions()
    stop = stop or threading.Event()
    inputs.check()
    inputs = with_detections(inputs, options)
    session = open_model(model, options)
    if most is not None:
        options = replace(options, top_k=min(most, len(session.contract.labels)))
    table = layout(session, options)
    result = InferResult(out=STDOUT, device=session.device, note=session.note, arithmetic=session.arithmetic)
    result.detections = inputs.detections is not None
    labeller = make_labeller(session, options)

    def labelled(samples: list[Sample]) -> list[ResultRow]:
        return table.rows(labeller(samples))

    def rows() -> Iterator[ResultRow]:
        work = until(stop, batches(inputs.samples(result.counts), labeller.batch_size))
        progress.start("labelling")
        try:
            with one_opencv_thread(), counted_ahead(inputs, progress):
                for batch in in_threads(labelled, labeller.ahead.batches(work), options.n_workers):
                    for row in batch:
                        result.count(row)
                        yield row
                    progress.advance(len(batch))
        finally:
            progress.finish()
            labeller.ahead.close()
        result.complete = not stop.is_set()
        if result.complete and not result.n_files:
            raise nothing_found(inputs, result.counts)

    return RowStream(table=table, result=result, rows=rows())
