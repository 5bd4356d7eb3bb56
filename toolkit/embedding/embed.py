"""Images -> a file of features: one row for every file, in the order of the inputs; a stopped run is continued."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Final

from toolkit.core.errors import GateError, UsageError
from toolkit.core.locking import lock
from toolkit.core.machine import usable_cpus
from toolkit.core.ownership import claim, is_torn
from toolkit.core.parallel import in_threads
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.passed_over import PassedOver
from toolkit.data.walk import Sample, require_read
from toolkit.embedding.feature_files import (
    FeatureRow,
    is_feature_file,
    is_rows_file,
    packed,
    rows_path,
    suffix_of,
    unpacked,
    write_features,
)
from toolkit.embedding.feature_session import FeatureSession
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.infer import nothing_found, until
from toolkit.inference.inputs import Inputs
from toolkit.inference.labeller import Prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, make_labeller
from toolkit.inference.result_table import CSV_SAFE, ERROR, OK, Cells, Layout, ResultRow, read_lines
from toolkit.inference.resume import EarlierRows, Partial

FEATURES_VERSION: Final = 1
"""Raised when the same model gives other features than before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedResult:
    """What a run did.

    Attributes:
        out: the file of features.
        n_features: numbers in a row.
        n_files: rows; n_errors: those of files that could not be read.
        n_continued: rows that a stopped run had left.
        complete: False where the run was stopped; the same call continues it.
        counts: files in folders that were passed over.
        unread: folders that could not be read; each has a row.
    """

    out: Path
    n_features: int
    n_files: int
    n_errors: int
    n_continued: int
    complete: bool
    counts: PassedOver
    unread: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises:
        GateError: every file failed, or a folder could not be read.
        """
        require_read(self.unread)
        if self.n_files and self.n_errors == self.n_files:
            every = "the only file" if self.n_files == 1 else f"all {self.n_files:,} files"
            raise GateError(f"{every} failed", hint=f"see the rows with status error in {self.out}")


class _Layout(Layout):
    """The rows of the file in the making: the features are one cell."""

    @cached_property
    def columns(self) -> Cells:
        return ["path", "features", "error", "size", "mtime_ns", "model"]

    def rows(self, predictions: Sequence[Prediction]) -> list[ResultRow]:
        return [self._of(prediction) for prediction in predictions]

    def _of(self, prediction: Prediction) -> ResultRow:
        sample, found = prediction.sample, prediction.probabilities
        features = () if found is None else tuple(found.tolist())
        status = ERROR if found is None else OK
        name = printable(sample.name)
        return ResultRow(name, (), features, "", status, prediction.error, sample.size, sample.mtime_ns, self.model)

    def cells(self, row: ResultRow) -> Cells:
        state = [str(row.size), str(row.mtime_ns)] if row.size >= 0 else ["", ""]
        return [row.path, packed(row.probabilities), row.error, *state, row.model]

    def row(self, cells: Cells) -> ResultRow:
        name, _, error, size, mtime_ns, model = cells
        read = bool(size)
        state = (int(size), int(mtime_ns)) if read else (-1, 0)
        return ResultRow(name, (), (), "", ERROR if error else OK, error, *state, model)


def embed(
    inputs: Inputs,
    out: Path,
    model: Path,
    options: InferOptions | None = None,
    *,
    progress: Progress = SILENT,
    stop: threading.Event | None = None,
) -> EmbedResult:
    """Write the features of files and folders into `out`, one row for each file.

    Args:
        inputs: what to read.
        out: .parquet, .npy or .csv; see `toolkit.embedding.feature_files`.
        model: a bundle, an ONNX file, or the name `imagenet`: its layer before the last one.
        options: batch size, workers and the like.
        progress: hears of each batch.
        stop: once set, what is in flight is finished and kept, and the result is not `complete`.

    Raises:
        UsageError: `out` is a folder or has no suffix that is known.
        InputError: an input is missing or holds no image; `out` exists and toolkit did not write it.
        ModelError, MachineError: the model cannot be run, or `out` cannot be written.
        LockedError: another run is writing `out`.
    """
    options, stop = options or InferOptions(), stop or threading.Event()
    suffix_of(out)
    inputs.check()
    session = FeatureSession(model, threads=1)
    names = session.contract.labels
    labeller = make_labeller(session, options)
    if options.csv_safe and out.suffix.lower() == ".parquet":
        raise UsageError("--csv-safe is for CSV", hint="name a .csv or .npy file, or leave --csv-safe out")
    model_cell = features_fingerprint(session) + (CSV_SAFE if options.csv_safe else "")
    table = _Layout(contract=session.contract, model=model_cell)
    _claim(out)
    counts = PassedOver()
    work = until(stop, batches(inputs.samples(counts), labeller.batch_size))
    partial = Partial(out, table)
    with lock(out), one_opencv_thread():
        progress.start("computing features")
        earlier = partial.earlier()
        try:
            different = _passed(earlier, work)
            n_continued = earlier.n_taken if earlier is not None and earlier.fits else 0
            rest = partial.begin(earlier if n_continued else None)
            if rest is not None:
                rest.close()
            progress.advance(n_continued)
            todo = chain([different] if different else [], work)
            for found in in_threads(labeller, todo, options.workers or usable_cpus()):
                partial.append(table.rows(found))
                progress.advance(len(found))
            partial.close()
            n_files, n_errors, unread = _counted(partial.path)
            if not n_files and not stop.is_set():
                partial.discard()
                raise nothing_found(inputs, counts)
            if not stop.is_set():
                progress.line(f"writing {printable(str(out))}")
                write_features(out, len(names), n_files, _rows(partial.path), csv_safe=options.csv_safe)
                partial.discard()
        finally:
            if earlier is not None:
                earlier.close()
            partial.close()
            progress.finish()
    return EmbedResult(
        out=out,
        n_features=len(names),
        n_files=n_files,
        n_errors=n_errors,
        n_continued=n_continued,
        complete=not stop.is_set(),
        counts=counts,
        unread=tuple(unread),
    )


def features_of(
    samples: Iterable[Sample], session: FeatureSession, options: InferOptions | None = None
) -> Iterator[FeatureRow]:
    """The features of a stream of samples, one row for each, in their order; nothing is written."""
    options = options or InferOptions()
    labeller = make_labeller(session, options)
    model = features_fingerprint(session)
    with one_opencv_thread():
        work = batches(samples, labeller.batch_size)
        for found in in_threads(labeller, work, options.workers or usable_cpus()):
            for prediction in found:
                sample = prediction.sample
                yield FeatureRow(
                    path=printable(sample.name),
                    features=prediction.probabilities,
                    error=prediction.error,
                    size=sample.size,
                    mtime_ns=sample.mtime_ns,
                    model=model,
                )


def features_fingerprint(session: FeatureSession) -> str:
    """Short fingerprint of the model; features of different ones cannot be compared."""
    return hashlib.sha256(json.dumps([FEATURES_VERSION, session.fingerprint]).encode()).hexdigest()[:12]


def _claim(out: Path) -> None:
    """Files at `out` and beside it are replaced only where toolkit wrote them."""
    if out.is_dir():
        raise UsageError(
            f"{printable(str(out))}: expected the name of a file, found a folder",
            hint=f"--out {printable(str(out / 'features.parquet'))}",
        )
    claim(out, is_feature_file, force=None)
    if out.suffix.lower() == ".npy":
        claim(rows_path(out), is_rows_file, force=None)
    claim(Partial.place(out), _is_partial, force=None)


def _is_partial(path: Path) -> bool:
    begin = b"path,features,error,"
    with path.open("rb") as file:
        return file.read(len(begin)) == begin or is_torn(path, begin)


def _passed(earlier: EarlierRows | None, work: Iterator[list[Sample]]) -> list[Sample] | None:
    """Pass over the batches that a stopped run has done; the first one that it has not, None where there is none."""
    if earlier is None or not earlier.fits:
        return None
    for batch in work:
        if earlier.batch(batch, stopped=True) is None:
            return batch
    return None


def _rows(path: Path) -> Iterator[FeatureRow]:
    """The rows of the file in the making."""
    with path.open("rb") as file:
        for (name, features, error, size, mtime_ns, model), _ in islice(read_lines(file), 1, None):
            yield FeatureRow(
                path=name,
                features=unpacked(features),
                error=error,
                size=int(size or -1),
                mtime_ns=int(mtime_ns or 0),
                model=model,
            )


def _counted(path: Path) -> tuple[int, int, list[str]]:
    """Rows of the file in the making, how many of them are errors, and the folders that could not be read."""
    n_files = n_errors = 0
    unread = []
    with path.open("rb") as file:
        for cells, _ in islice(read_lines(file), 1, None):
            n_files += 1
            n_errors += cells[1] == ""
            if cells[0].endswith("/"):
                unread.append(cells[0])
    return n_files, n_errors, unread
