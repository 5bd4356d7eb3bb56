"""A folder of Parquet parts, each of a fixed number of inputs, for more rows than one file should hold.

A part appears whole, and `_manifest.json` last of all: readers of Parquet pass over names that begin with an
underscore, and would take any other file in the folder for a part. A later run does only what is missing or changed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import file_digest, write_json
from toolkit.core.ownership import json_object
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.walk import Sample
from toolkit.inference.inputs import STDIN, Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result import InferResult, Tally
from toolkit.inference.result_formats import FORMATS, PARQUET, format_of, is_result, read_table, write_table
from toolkit.inference.result_table import Cells, Layout, ResultRow

PART_SIZE: Final = 1 << 16
"""Inputs of a part unless another number is asked for: about a minute's work, a few megabytes."""

MANIFEST: Final = "_manifest.json"
_MARKER: Final = "parts 1"
_PART: Final = re.compile(r"part-\d{5,}-of-\d{5,}\.parquet")
_LEFTOVER: Final = re.compile(r"\.(part-.*\.tmp\.parquet|_manifest\.json\..*\.tmp\.json)")

Rows = Callable[[Iterator[list[Sample]]], Iterator[list[ResultRow]]]


def part_name(index: int, count: int) -> str:
    """The name of a part.

    >>> part_name(7, 64)
    'part-00007-of-00064.parquet'
    """
    return f"part-{index:05d}-of-{count:05d}.parquet"


def with_parts(out: str | os.PathLike[str], options: InferOptions) -> InferOptions:
    """The options, with a size of parts where `out` ends in a slash or is a folder of parts."""
    text = os.fspath(out)
    folder = text.endswith(("/", os.sep)) or (os.path.isdir(text) and _begun(Path(text)))
    return replace(options, part_size=PART_SIZE) if folder and options.part_size is None else options


def _begun(out: Path) -> bool:
    """Whether parts go into the folder `out` without a slash: its name is none of a file, or parts are in it."""
    return is_parts(out) and (not out.suffix or (out / MANIFEST).exists())


def is_parts(out: Path) -> bool:
    """Whether the folder `out` is empty, or holds what we wrote and nothing else."""
    return next(_foreign(out), None) is None


def _foreign(out: Path) -> Iterator[Path]:
    for path in sorted(out.iterdir()):
        if path.name == MANIFEST:
            ours = json_object(path).get("toolkit") == _MARKER
        else:
            ours = bool(_LEFTOVER.fullmatch(path.name)) or (bool(_PART.fullmatch(path.name)) and is_result(path))
        if path.is_symlink() or not path.is_file() or not ours:
            yield path


def claim_parts(out: Path, inputs: Inputs, options: InferOptions) -> None:
    """Make sure that parts may be written into the folder `out` with these options.

    Raises:
        UsageError: an option is for one file.
        InputError: `out` is no folder, or holds what we did not write.
        MachineError: pyarrow is not installed.
    """
    format_of(Path(f"x{PARQUET}"))
    shown = printable(str(out))
    for option, given, hint in (
        ("--shard", inputs.shard is not None, "each shard has a file of its own: --out labels-1.parquet"),
        ("--update", options.update, "leave it out: a folder keeps the rows of unchanged files by itself"),
        ("--detections", options.detections is not None, f"--out {shown}{PARQUET}"),
        ("--csv-safe", options.csv_safe, "leave it out: the cells of Parquet have types, and none is a formula"),
    ):
        if given:
            raise UsageError(f"{option} does not go with a folder of parts, {shown}/", hint=hint)
    if out.suffix.lower() in FORMATS and not out.is_dir():
        raise UsageError(f"--part-size is for a folder of parts, not {shown}", hint=f"--out {printable(out.stem)}/")
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"{shown}: expected a folder, found a file", hint="choose another name with --out")
    foreign = next(_foreign(out), None) if out.is_dir() else None
    if foreign is not None:
        raise InputError(
            f"{shown}: holds {printable(foreign.name)}, and toolkit did not write it; nothing in it is touched",
            hint="choose another folder with --out",
        )


def spooled(inputs: Inputs) -> Inputs:
    """`inputs` that can be listed twice: a list on stdin is kept in a temporary file."""
    if STDIN not in inputs.paths or inputs.stdin is None:
        return inputs
    kept = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(inputs.stdin, kept)
    kept.seek(0)
    return replace(inputs, stdin=kept)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A batch of one part: the samples that are to be labelled, in the place of the others their rows."""

    part: int
    items: list[Sample | ResultRow]
    stays: bool = False

    @property
    def missing(self) -> list[Sample]:
        return [item for item in self.items if isinstance(item, Sample)]

    def completed(self, rows: list[ResultRow]) -> list[ResultRow]:
        new = iter(rows)
        return [next(new) if isinstance(item, Sample) else item for item in self.items]


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
        self._finished = self._manifest.exists()
        self._written: list[dict[str, Any]] = []

    def all(self, inputs: Inputs, label: Rows, batch_size: int, stop: threading.Event) -> None:
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
        self._result.out.mkdir(parents=True, exist_ok=True)
        self._remove_others(count)
        under_way: deque[_Piece] = deque()

        def missing() -> Iterator[list[Sample]]:
            for piece in self._pieces(inputs, count, batch_size, stop):
                under_way.append(piece)
                yield piece.missing

        done = ((under_way.popleft(), new) for new in label(missing()))
        for part, pieces in groupby(done, key=lambda item: item[0].part):
            expected = min(self._size, n - part * self._size)
            try:
                self._part(part, count, expected, pieces)
            except _StoppedError:
                break
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
            self._finish(started)

    def _pieces(self, inputs: Inputs, count: int, batch_size: int, stop: threading.Event) -> Iterator[_Piece]:
        samples = inputs.samples(self._result.counts)
        for part in range(count):
            mine = list(islice(samples, self._size))
            if stop.is_set():
                return
            items = self._kept(self._result.out / part_name(part, count), mine)
            if items is None:
                yield _Piece(part, [], stays=True)
                continue
            for start in range(0, len(items), batch_size):
                if stop.is_set():
                    return
                yield _Piece(part, items[start : start + batch_size])
        for extra in samples:  # files that came since they were counted: the run says so at its end
            yield _Piece(count, [extra])
            return

    def _kept(self, path: Path, samples: list[Sample]) -> list[Sample | ResultRow] | None:
        """What is to do for a part; None where it is there and nothing has changed."""
        if not path.exists():
            return list(samples)
        old = {row.path: row for row in self._rows(path)}
        items = [self._row(old.get(sample.name), sample) or sample for sample in samples]
        if len(old) == len(items) and all(isinstance(item, ResultRow) for item in items):
            return None
        return list(items) if self._finished else list(samples)

    def _row(self, row: ResultRow | None, sample: Sample) -> ResultRow | None:
        """An earlier run's row, where the file is as it was; a finished folder's unreadable ones are tried again."""
        if row is None or row.model != self._table.model:
            return None
        if row.size < 0:
            return None if self._finished else row
        return row if (row.size, row.mtime_ns) == (sample.size, sample.mtime_ns) else None

    def _rows(self, path: Path) -> Iterator[ResultRow]:
        """The rows of a part; none where it is of other columns or damaged."""
        lines = (cells for block in read_table(path) for cells in block)
        if next(lines, None) != self._table.columns:
            return
        for cells in lines:
            try:
                yield self._table.row(cells)
            except ValueError:
                return

    def _part(self, part: int, count: int, expected: int, pieces: Iterable[tuple[_Piece, list[ResultRow]]]) -> None:
        path = self._result.out / part_name(part, count)
        first = next(iter(pieces := iter(pieces)))
        if first[0].stays:
            rows = list(self._rows(path))
            self._count(rows)
            if self._finished:
                self._result.n_kept += len(rows)
            else:
                self._result.n_continued += len(rows)
        else:
            self._manifest.unlink(missing_ok=True)
            write_table(path, self._table, self._cells(first, pieces, expected))
        self._written.append({"name": path.name, "rows": expected, "sha256": file_digest(path)})

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
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()
            elif _PART.fullmatch(path.name) and path.name not in wanted:
                self._manifest.unlink(missing_ok=True)
                path.unlink()

    def _finish(self, started: str) -> None:
        result = self._result
        numbers = {"files": result.n_files, "ok": result.n_ok, "unsure": result.n_unsure, "errors": result.n_errors}
        content = {
            "toolkit": _MARKER,
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
