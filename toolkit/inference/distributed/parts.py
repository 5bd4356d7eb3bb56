"""A folder of Parquet parts, each of a fixed number of inputs, for more rows than one file should hold.

A part appears whole, and `_manifest.json` last of all: readers of Parquet pass over names that begin with an
underscore, and would take any other file in the folder for a part. A later run does only what is missing or changed.

Before it changes the first part, the manifest becomes `_before.json`: which parts were finished, and their digests.
Parts of another division stay until all new ones are there, so that a kill at any point costs the parts under way.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from toolkit.core.errors import InputError
from toolkit.core.files import file_digest, write_json
from toolkit.core.ownership import json_object
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.walk import Sample
from toolkit.inference.distributed.part_names import BEFORE, LEFTOVER, MANIFEST, MARKER, PART, part_name
from toolkit.inference.inputs import STDIN, Inputs
from toolkit.inference.predict import RowWorkers, Work, labelled
from toolkit.inference.result import InferResult, Tally
from toolkit.inference.result_formats import read_cells, write_table
from toolkit.inference.result_table import Cells, Layout, ResultRow, encode
from toolkit.inference.resume import EarlierRows, tell_replaced


def spooled(inputs: Inputs) -> Inputs:
    """`inputs` that can be listed twice: a list on stdin is kept in a temporary file."""
    if STDIN not in inputs.paths or inputs.stdin is None:
        return inputs
    kept = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(inputs.stdin, kept)
    kept.seek(0)
    return replace(inputs, stdin=kept)


@dataclass(frozen=True, slots=True)
class _Piece(Work):
    """A batch of one part; where the part `stays` as it is, there are no items."""

    part: int
    stays: bool = False


class _StoppedError(Exception):
    """A part was not finished."""


class Parts:
    """The folder in the making, under its lock.

    Args:
        result: of the run; `result.out` is the folder.
        table: the columns.
        size: inputs of a part.
        about: what the rows depend on, for the manifest.
        progress: hears of the rows.
    """

    def __init__(
        self, result: InferResult, table: Layout, size: int, about: dict[str, Any], progress: Progress
    ) -> None:
        self._result, self._table, self._size, self._about, self._progress = result, table, size, about, progress
        self._tally = Tally(result, table.labels)
        self._manifest = result.out / MANIFEST
        self._before = result.out / BEFORE
        self._finished = self._manifest.exists()
        self._unharmed: dict[str, str] = {}  # parts of a finished folder that are as its manifest says -> digest
        self._earlier: EarlierRows | None = None
        self._written: list[dict[str, Any]] = []

    def all(self, inputs: Inputs, label: RowWorkers, batch_size: int, stop: threading.Event) -> None:
        """Label what is missing, and write the manifest.

        Raises:
            InputError: files came or went while they were labelled.
        """
        started = _now()
        n = inputs.count_all(stop)
        if n is None:
            self._result.complete = False
            return
        count = -(-n // self._size)
        if n:
            self._result.out.mkdir(parents=True, exist_ok=True)
            self._unharmed = self._as_listed()
            theirs = json_object(self._manifest).get("fingerprint", "")
            tell_replaced(self._result.out, printable(str(theirs)), self._table.model, self._progress)
        try:
            self._label(inputs, label, batch_size, stop, n)
        finally:
            if self._earlier is not None:
                self._earlier.close()
        self._result.complete = not stop.is_set()
        if not self._result.complete:
            return
        if self._result.n_files != n:
            raise InputError(
                f"{self._result.n_files:,} files were labelled and {n:,} listed before: some came or went meanwhile",
                hint="run the same command again: what is done is kept; a list of files on stdin does not change",
            )
        if n:
            self._tally.write()
            self._remove_others(count)
            self._finish(started)

    def _label(self, inputs: Inputs, label: RowWorkers, batch_size: int, stop: threading.Event, n: int) -> None:
        """Write all parts that do not stay, in order, up to one that cannot be finished."""
        count = -(-n // self._size)
        done = labelled(self._pieces(inputs, count, batch_size, stop), label)
        for part, pieces in groupby(done, key=lambda item: item[0].part):
            expected = min(self._size, n - part * self._size)
            try:
                self._part(part, count, expected, pieces)
            except _StoppedError:
                break

    def _as_listed(self) -> dict[str, str]:
        """The parts whose digest is the one that the last manifest names, with it."""
        listed = json_object(self._manifest if self._finished else self._before).get("parts")
        parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
        listed_digests = {str(part.get("name")): part.get("sha256") for part in parts}
        found = {path.name: file_digest(path) for path in self._there() if path.name in listed_digests}
        return {name: digest for name, digest in found.items() if digest == listed_digests[name]}

    def _there(self) -> list[Path]:
        return [path for path in sorted(self._result.out.iterdir()) if PART.fullmatch(path.name)]

    def _pieces(self, inputs: Inputs, count: int, batch_size: int, stop: threading.Event) -> Iterator[_Piece]:
        samples = inputs.samples(self._result.counts)
        for part in range(count):
            mine = list(islice(samples, self._size))
            if stop.is_set():
                return
            items = self._kept(self._result.out / part_name(part, count), mine)
            if items is None:
                yield _Piece([], part, stays=True)
                continue
            for start in range(0, len(items), batch_size):
                if stop.is_set():
                    return
                yield _Piece(items[start : start + batch_size], part)
        for extra in samples:  # files that came since they were counted: the run says so at its end
            yield _Piece([extra], count)
            return

    def _kept(self, path: Path, samples: list[Sample]) -> list[Sample | ResultRow] | None:
        """What is to do for a part; None where it is there and nothing has changed.

        What a killed run left is kept where it is a whole part: the last bit of a row may depend on its batch.
        """
        unharmed = path.name in self._unharmed
        readable = unharmed or (not self._finished and path.exists())
        old = {row.path: row for row in self._rows(path)} if readable else {}
        items = [self._row(old.get(sample.name), sample, unharmed=unharmed) or sample for sample in samples]
        if len(old) == len(items) and all(isinstance(item, ResultRow) for item in items):
            return None
        if not unharmed:
            items, old = list(samples), {}
        return [
            (self._elsewhere(item) or item) if isinstance(item, Sample) and item.name not in old else item
            for item in items
        ]

    def _row(self, row: ResultRow | None, sample: Sample, *, unharmed: bool) -> ResultRow | None:
        """An earlier run's row, where the file is as it was; a finished folder's unreadable ones are tried again."""
        if row is None or row.model != self._table.model:
            return None
        if row.size < 0:
            return None if unharmed else row
        return row if (row.size, row.mtime_ns) == (sample.size, sample.mtime_ns) else None

    def _elsewhere(self, sample: Sample) -> ResultRow | None:
        """The row of an unchanged file that was in another part of the finished folder."""
        if not self._unharmed:
            return None
        if self._earlier is None:
            file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115
            file.write(encode([self._table.columns]))
            for name in sorted(self._unharmed):
                file.write(self._table.encode(self._rows(self._result.out / name)))
            self._earlier = EarlierRows(file, self._table)
        return self._earlier.take(sample)

    def _rows(self, path: Path) -> Iterator[ResultRow]:
        """The rows of a part; none where it is of other columns or damaged."""
        lines = read_cells(path)
        with suppress(ValueError):
            if next(lines, None) == self._table.columns:
                yield from map(self._table.row, lines)

    def _part(self, part: int, count: int, expected: int, pieces: Iterable[tuple[_Piece, list[ResultRow]]]) -> None:
        path = self._result.out / part_name(part, count)
        first = next(iter(pieces := iter(pieces)))
        if part == count:
            self._count(first[1])
            raise _StoppedError
        if first[0].stays:
            rows = list(self._rows(path))
            self._count(rows)
            if path.name in self._unharmed:
                self._result.n_kept += len(rows)
            else:
                self._result.n_continued += len(rows)
        else:
            self._begin()
            write_table(path, self._table, self._cells(first, pieces, expected))
        known = self._unharmed.get(path.name) if first[0].stays else None
        self._written.append({"name": path.name, "rows": expected, "sha256": known or file_digest(path)})

    def _begin(self) -> None:
        """The folder is not finished any more; a harmed part is not to be taken for one of a killed run."""
        if self._manifest.exists():
            for path in self._there():
                if path.name not in self._unharmed:
                    path.unlink()
            self._manifest.replace(self._before)

    def _cells(
        self, first: tuple[_Piece, list[ResultRow]], rest: Iterator[tuple[_Piece, list[ResultRow]]], expected: int
    ) -> Iterator[Cells]:
        """The cells of a part's rows, counted; nothing of it stays where the run was stopped before its last."""
        n = 0
        for piece, new in (pair for pairs in ([first], rest) for pair in pairs):
            rows = piece.completed(new)
            n += len(rows)
            self._result.n_kept += len(rows) - len(new)
            self._count(rows)
            yield from map(self._table.cells, rows)
        if n != expected:
            raise _StoppedError

    def _count(self, rows: list[ResultRow]) -> None:
        self._tally.count(rows)
        self._progress.advance(len(rows))

    def _remove_others(self, count: int) -> None:
        """Remove parts of another division, and what a killed run had not finished."""
        wanted = {part_name(part, count) for part in range(count)}
        for path in sorted(self._result.out.iterdir()):
            if LEFTOVER.fullmatch(path.name):
                path.unlink()
            elif PART.fullmatch(path.name) and path.name not in wanted:
                self._begin()
                path.unlink(missing_ok=True)

    def _finish(self, started: str) -> None:
        result = self._result
        numbers = {"files": result.n_files, "ok": result.n_ok, "unsure": result.n_unsure, "errors": result.n_errors}
        content = {
            "toolkit": MARKER,
            **self._about,
            "columns": self._table.columns,
            "part_size": self._size,
            "counts": numbers,
            "labels": dict(sorted(result.labels.items())),
            "parts": self._written,
        }
        old = json_object(self._manifest)
        old.pop("times", None)
        if old != content:
            write_json(self._manifest, {**content, "times": {"started": started, "finished": _now()}})
        self._before.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
