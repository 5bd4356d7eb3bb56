"""Inputs -> a result file: what is there already is kept, the rest is labelled, report and confusion lie beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from toolkit.core.errors import InputError, UsageError
from toolkit.core.locking import lock
from toolkit.core.ownership import claim
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.passed_over import PassedOver
from toolkit.data.remote.urls import refuse_remote_out
from toolkit.data.walk import Sample
from toolkit.inference.distributed.part_names import PART_SIZE, claim_parts
from toolkit.inference.distributed.parts import Parts, spooled
from toolkit.inference.distributed.shard import Listing, is_record, record_path
from toolkit.inference.inputs import Inputs
from toolkit.inference.labeller import Labeller
from toolkit.inference.options import Engine, InferOptions
from toolkit.inference.predict import (
    RowWorkers,
    Work,
    batches,
    described,
    labelled,
    layout,
    make_labeller,
    open_model,
    row_workers,
    with_detections,
)
from toolkit.inference.result import InferResult, Tally, claim_reports
from toolkit.inference.result_formats import CSV, format_of, is_result
from toolkit.inference.result_table import Layout, ResultRow
from toolkit.inference.resume import EarlierRows, Partial, finished, model_of, tell_replaced
from toolkit.sessions.session import Session


def infer(
    inputs: Inputs,
    out: Path,
    model: Path,
    options: InferOptions | None = None,
    *,
    progress: Progress = SILENT,
    stop: threading.Event | None = None,
) -> InferResult:
    """Label files and folders into a result file, one row for each file.

    A run that was stopped or killed is continued by the same call. Beside the result, `<out stem>.report.csv` and
    `<out stem>.confusion.csv` are written where files lie in folders named like the model's classes.

    Args:
        out: .csv, .jsonl, .parquet, or .json in MegaDetector's format; what is there stays whole until the new file is.
            With `options.part_size` a folder of Parquet parts.
        stop: once set, what is in flight is finished and kept, and the result is not `complete`.

    Raises:
        UsageError: the options do not fit the model or the output.
        InputError: an input is missing or holds no image; or `out` exists and was not written by toolkit.
        ModelError, MachineError: the model cannot be run, or `out` cannot be written.
        LockedError: another run is writing `out`.
    """
    options = options or InferOptions()
    if options.engine is Engine.RAY and options.device == "auto":
        options = replace(options, device="cpu")  # every worker alike, and what this machine has says nothing of them
    stop = stop or threading.Event()
    refuse_remote_out(out)
    if options.part_size is not None:
        return _infer_parts(inputs, out, model, options, progress=progress, stop=stop)
    if out.is_dir():
        raise UsageError(
            f"{printable(str(out))}: expected the name of a file, found a folder",
            hint=f"--out {printable(str(out / 'labels.csv'))}, or a slash at its end for a folder of parts",
        )
    if format_of(out) != CSV and options.csv_safe:
        raise UsageError(
            f"--csv-safe is for a table that ends in {CSV}, found {printable(str(out))}",
            hint="leave --csv-safe out: the cells of other tables have types, and none is a formula",
        )
    _claim(out, force=options.force)
    if options.detections is not None and os.path.realpath(options.detections) == os.path.realpath(out):
        raise UsageError(
            f"{printable(str(out))}: is the file of detections, and --out", hint="choose another name with --out"
        )
    inputs.check()
    inputs = replace(with_detections(inputs, options), looks=options.update or Partial.place(out).exists())
    session = open_model(model, options)
    table = layout(session, options)
    record = _Record(inputs, described(inputs, session, table, options))
    result = InferResult(out=out, device=session.device, note=session.note, arithmetic=session.arithmetic)
    result.detections = inputs.detections is not None
    labeller = make_labeller(session, options)
    work = until(stop, batches(inputs.samples(result.counts, record.listing), labeller.batch_size))
    first = list(islice(work, options.n_workers))
    workers = _Workers(model, options, progress, remote=inputs.any_url(chain(*first)))
    with (
        workers.of(session, table, labeller, len(first)) as label,
        lock(out),
        ExitStack() as opened,
    ):
        progress.start("labelling")
        try:
            opened.enter_context(counted_ahead(inputs, progress))
            _Run(result, table, progress, opened, record).all(inputs, chain(first, work), label, options, stop)
        finally:
            progress.finish()
    return result


def _infer_parts(
    inputs: Inputs, out: Path, model: Path, options: InferOptions, *, progress: Progress, stop: threading.Event
) -> InferResult:
    """The same into a folder of Parquet parts."""
    claim_parts(out, inputs, options)
    claim_reports(out, force=options.force)
    inputs.check()
    inputs = replace(spooled(inputs), looks=out.is_dir())
    session = open_model(model, options)
    table = layout(session, options)
    result = InferResult(out=out, device=session.device, note=session.note, arithmetic=session.arithmetic)
    labeller = make_labeller(session, options)
    about = described(inputs, session, table, options)
    workers = _Workers(model, options, progress, remote=inputs.any_url())
    with workers.of(session, table, labeller, options.n_workers) as label, lock(out):
        progress.start("labelling")
        try:
            parts = Parts(result, table, options.part_size or PART_SIZE, about, progress)
            parts.all(inputs, label, labeller.batch_size, stop)
        finally:
            progress.finish()
    if result.complete and not result.n_files:
        raise nothing_found(inputs, result.counts)
    return result


@dataclass(frozen=True, slots=True)
class _Workers:
    """The engine of a run."""

    model: Path
    options: InferOptions
    progress: Progress
    remote: bool

    def of(
        self, session: Session, table: Layout, labeller: Labeller, n_batches: int
    ) -> AbstractContextManager[RowWorkers]:
        """Its workers."""
        if self.options.engine is Engine.LOCAL:
            return row_workers(table, labeller, self.options, n_batches=n_batches, remote=self.remote)
        from toolkit.inference.distributed.ray_workers import ray_row_workers

        return ray_row_workers(table, self.model, session.fingerprint, self.options, self.progress)


def _claim(out: Path, *, force: bool) -> None:
    """Nothing is written where something lies that no run of ours wrote: neither the table nor what lies beside it.

    Raises:
        InputError: one of the files is foreign.
    """
    claim(out, is_result, force=force)
    claim(Partial.place(out), Partial.is_one, force=force)
    claim_reports(out, force=force)
    claim(record_path(out), is_record, force=force)


class _Record:
    """The record of a run that labels one shard; of another run none may lie beside its result."""

    def __init__(self, inputs: Inputs, about: dict[str, Any]) -> None:
        self._shard = inputs.shard
        self._about = about
        self.listing = Listing() if self._shard is not None else None

    @property
    def is_empty_shard(self) -> bool:
        """Whether the inputs hold files, and only this shard holds none."""
        return self.listing is not None and self.listing.n > 0

    def write(self, out: Path) -> None:
        """Write it beside `out`, once all samples were listed."""
        if self._shard is not None and self.listing is not None:
            self.listing.write(out, self._shard, self._about)
        else:
            record_path(out).unlink(missing_ok=True)


class _Run:
    """One run of `infer`, under its lock."""

    def __init__(
        self, result: InferResult, table: Layout, progress: Progress, opened: ExitStack, record: _Record
    ) -> None:
        self._result = result
        self._table = table
        self._partial = Partial(result.out, table)
        self._open = opened
        opened.callback(self._partial.close)
        self._progress = progress
        self._tally = Tally(result, table.labels, csv_safe=table.csv_safe)
        self._record = record

    def all(
        self,
        inputs: Inputs,
        work: Iterator[list[Sample]],
        label: RowWorkers,
        options: InferOptions,
        stop: threading.Event,
    ) -> None:
        result, partial = self._result, self._partial
        stopped, old = self._stopped(), self._old() if options.update else None
        if not options.update:
            tell_replaced(self._result.out, model_of(self._result.out), self._table.model, self._progress)
        start = stopped or old
        different = self._same(start, work, stopped=start is stopped) if start else None
        if stop.is_set():
            result.complete = False
            return
        if old is not None and start is old and different is None and old.exhausted and not old.torn and result.n_files:
            result.n_kept = result.n_files
            self._write_beside()
            return
        rest = self._opened(partial.begin(start))
        todo = self._planned(chain([different] if different else [], work), rest, old)
        for batch, new in labelled(todo, label):
            rows = batch.completed(new)
            partial.append(rows)
            self._count(rows)
        result.n_continued = sum(source.n_taken for source in (stopped, rest) if source is not None)
        result.n_kept = old.n_taken if old is not None else 0
        if stop.is_set():
            result.complete = False
        elif not result.n_files and not self._record.is_empty_shard:
            partial.discard()
            raise nothing_found(inputs, result.counts)
        else:
            result.n_gone = old.n_gone() if old is not None else 0
            self._write_beside()
            partial.finish()

    def _opened(self, earlier: EarlierRows | None) -> EarlierRows | None:
        if earlier is not None:
            self._open.callback(earlier.close)
        return earlier

    def _stopped(self) -> EarlierRows | None:
        earlier = self._opened(self._partial.earlier())
        if earlier is not None and not earlier.fits:
            name = printable(self._partial.path.name)
            self._progress.warn(
                f"{name} is of another model or other options: it is left, and all is done from the start"
            )
            return None
        return earlier

    def _old(self) -> EarlierRows | None:
        earlier = self._opened(finished(self._result.out, self._table))
        if earlier is not None and not earlier.fits:
            self._result.redone = True
            return None
        return earlier

    def _same(self, start: EarlierRows, work: Iterator[list[Sample]], *, stopped: bool) -> list[Sample] | None:
        """Pass over the batches whose rows are there already; the first that is not, None where all are."""
        for batch in work:
            rows = start.batch(batch, stopped=stopped)
            if rows is None:
                return batch
            self._count(rows)
        return None

    def _planned(
        self, work: Iterable[list[Sample]], rest: EarlierRows | None, old: EarlierRows | None
    ) -> Iterator[Work]:
        """What is to do. Of a stopped run only whole batches are kept: the last bit may depend on the batch."""
        for samples in work:
            whole = rest.take_all(samples) if rest is not None else None
            if whole is not None:
                yield Work(whole)
            elif old is not None:
                yield Work([old.take(sample) or sample for sample in samples])
            else:
                yield Work(samples)

    def _write_beside(self) -> None:
        """Report, confusion and the record of a shard."""
        self._tally.write()
        self._record.write(self._result.out)

    def _count(self, rows: list[ResultRow]) -> None:
        self._tally.count(rows)
        self._progress.advance(len(rows))


@contextmanager
def counted_ahead(inputs: Inputs, progress: Progress) -> Iterator[None]:
    """While the work goes on, count the files in a thread, so that a bar can say how much is left."""
    if not progress.draws:
        yield
        return
    stop = threading.Event()

    def count() -> None:
        with suppress(InputError):  # the work itself says what is wrong
            n = inputs.count(stop)
            if n is not None:
                progress.expect(n)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def until(stop: threading.Event, work: Iterator[list[Sample]]) -> Iterator[list[Sample]]:
    """`work`, as long as `stop` is not set."""
    return iter(lambda: None if stop.is_set() else next(work, None), None)


def nothing_found(inputs: Inputs, counts: PassedOver) -> InputError:
    """The error where the inputs hold no image."""
    named = " ".join(inputs.shown)
    passed = f" ({counts})" if str(counts) else ""
    return InputError(f"{named}: expected images, found none{passed}", hint="check the path and the patterns")
