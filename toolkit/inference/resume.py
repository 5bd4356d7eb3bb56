"""What earlier runs left: the partial file of one that was stopped, and the finished file that `--update` builds on.

Rows are appended to `<out>.partial`, a CSV whatever the final format, which becomes `<out>` at the end. Batches are cut
from the ordered inputs at fixed places, and a run continues at such a place, so that no digit depends on where an
earlier one was stopped.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO, Final

from toolkit.core.files import open_own
from toolkit.core.ownership import has_columns, is_torn
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.walk import Detection, Sample
from toolkit.inference.result_formats import CSV, OWN_COLUMNS, format_of, has_mark, read_cells, write_table
from toolkit.inference.result_table import ERROR, Cells, Layout, ResultRow, encode, read_lines

PARTIAL: Final = ".partial"
"""How the name of a file ends that holds the rows of a run that is not finished."""

COPY_BYTES: Final = 1 << 20
_BEGIN: Final = b"path,label,confidence,"


class EarlierRows:
    """The rows of an earlier result with the same columns and the same model and options.

    Attributes:
        file: a CSV with a header.
        offset: all up to here has been taken in order, header included.
        n_taken: rows that were taken.
        n_changed: rows that `take` found, but of a file that has changed since.
        fits: whether columns, model and options are those of this run.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self.file = file
        self.n_taken = 0
        self.n_changed = 0
        self._layout = layout
        self._index: dict[int, int] | None = None
        file.seek(0)
        self._lines = read_lines(file)
        self._ahead: ResultRow | None = None
        self._begin = self._end = 0
        header = self._line()
        self.fits = header == layout.columns
        self.offset = self._first = self._end
        if self.fits:
            self._step()
            self.fits = self.exhausted or (self._ahead is not None and self._ahead.model == layout.model)

    def batch(self, samples: list[Sample], *, stopped: bool) -> list[ResultRow] | None:
        """The next rows, if they are those of exactly these samples; else None, and `offset` stays.

        Args:
            samples: the next batch of the ordered inputs.
            stopped: the rows are those of a stopped run, whose unreadable files stay as they are.
        """
        rows = []
        for sample in samples:
            row = self._ahead
            if row is None or not self._matches(row, sample, stopped=stopped):
                self._at(self.offset)
                return None
            rows.append(row)
            self._step()
        self.offset = self._begin
        self.n_taken += len(rows)
        return rows

    def take(self, sample: Sample) -> ResultRow | None:
        """The row of a sample that has not changed since, wherever it stands; None where there is none."""
        if (self._ahead is None or _key(self._ahead) != _wanted(sample)) and not self._find(_wanted(sample)):
            return None
        row = self._ahead
        self._step()
        if row is None or not self._matches(row, sample, stopped=False):
            self.n_changed += 1
            return None
        self.n_taken += 1
        return row

    def take_all(self, samples: list[Sample]) -> list[ResultRow] | None:
        """The rows of all these samples as `take` finds them; None where one is missing."""
        before, rows = self.n_taken, []
        for sample in samples:
            row = self.take(sample)
            if row is None:
                self.n_taken = before
                return None
            rows.append(row)
        return rows

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    @property
    def exhausted(self) -> bool:
        """Whether no row follows the ones taken in order."""
        return self._ahead is None

    @property
    def torn(self) -> bool:
        """Whether something follows the last whole row."""
        return self.exhausted and self._begin < os.fstat(self.file.fileno()).st_size

    def n_gone(self) -> int:
        """How many rows belong to none of the samples asked for; to be called at the end."""
        if self.exhausted and self._index is None:
            return 0
        self._at(self._first)
        n_rows = 0
        while self._ahead is not None:
            n_rows += 1
            self._step()
        return max(0, n_rows - self.n_taken - self.n_changed)

    def _matches(self, row: ResultRow, sample: Sample, *, stopped: bool) -> bool:
        if _key(row) != _wanted(sample) or row.model != self._layout.model:
            return False
        return (row.size, row.mtime_ns) == (sample.size, sample.mtime_ns) if row.size >= 0 else stopped

    def _find(self, wanted: _Key) -> bool:
        """Go to the row of `wanted`, by an index of all rows of about 100 bytes each; False where there is none."""
        here = self._begin
        if self._index is None:
            self._index = {}
            self._at(self._first)
            while self._ahead is not None:
                self._index.setdefault(hash(_key(self._ahead)), self._begin)
                self._step()
            self._at(here)
        place = self._index.get(hash(wanted))
        if place is None:
            return False  # and nothing is read again: what follows the last row may be long
        self._at(place)
        if self._ahead is not None and _key(self._ahead) == wanted:
            return True
        self._at(here)
        return False

    def _at(self, offset: int) -> None:
        """Make the line that begins at `offset` the next one."""
        self.file.seek(offset)
        self._lines = read_lines(self.file)
        self._end = offset
        self._step()

    def _step(self) -> None:
        """Look at the next row; there is none after the last whole one, nor after text that is not CSV."""
        self._begin = self._end
        cells = self._line()
        try:
            self._ahead = None if cells is None else self._layout.row(cells)
        except ValueError:
            self._ahead = _FOREIGN

    def _line(self) -> Cells | None:
        try:
            cells, self._end = next(self._lines, (None, self._end))
        except (csv.Error, UnicodeDecodeError):
            return None
        return cells


_Key = tuple[str, Detection | None]
"""What a row is about: a file, and the part of it."""


def _key(row: ResultRow) -> _Key:
    return row.path, row.detection


def _wanted(sample: Sample) -> _Key:
    detection = sample.detection
    return sample.name, detection if detection is not None and detection.box is not None else None


_FOREIGN: Final = ResultRow("", (), (), "", ERROR, "", -1, 0, "")
"""Stands for a line that no `infer` wrote; no input has its path."""


class Partial:
    """`<out>` in the making."""

    def __init__(self, out: Path, layout: Layout) -> None:
        self._out = out
        self._layout = layout
        self.path = self.place(out)
        self._file: IO[bytes] | None = None

    @staticmethod
    def place(out: Path) -> Path:
        """Where the rows of `out` are collected."""
        return out.with_name(out.name + PARTIAL)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether `path` was begun by a run of ours: its header may be torn."""
        return has_columns(path, OWN_COLUMNS, first="path") or is_torn(path, _BEGIN)

    def earlier(self) -> EarlierRows | None:
        """The rows of a stopped run; None where there is no partial file."""
        try:
            return EarlierRows(open_own(self.path, "rb"), self._layout)
        except FileNotFoundError:
            return None

    def begin(self, source: EarlierRows | None = None) -> EarlierRows | None:
        """Start with the rows that `source` gave in order, or with the header alone.

        Returns:
            what followed these rows in the partial file itself, which the new one replaces; None where nothing did.
        """
        rest = None
        if source is None or source.offset == 0:
            self._file = open_own(self.path, "wb")
            self._write(encode([self._layout.columns]))
        elif source.file.name == os.fspath(self.path):
            rest = self._rest(source)
            self._file = open_own(self.path, "r+b")
            self._file.truncate(source.offset)
            self._file.seek(source.offset)
        else:
            self._file = open_own(self.path, "wb")
            source.file.seek(0)
            left = source.offset
            while left and (block := source.file.read(min(left, COPY_BYTES))):
                self._write(block)
                left -= len(block)
        return rest

    def _rest(self, source: EarlierRows) -> EarlierRows | None:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(encode([self._layout.columns]))
        source.file.seek(source.offset)
        while block := source.file.read(COPY_BYTES):
            file.write(block)
        rest = EarlierRows(file, self._layout)
        if rest.exhausted:
            rest.close()
            return None
        return rest

    def append(self, rows: list[ResultRow]) -> None:
        """Add whole rows."""
        self._write(self._layout.encode(rows))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None

    def finish(self) -> None:
        """Make it `<out>`, in the format of its suffix."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        if format_of(self._out) == CSV:
            os.replace(self.path, self._out)
        else:
            with self.path.open("rb") as file:
                write_table(self._out, self._layout, (cells for cells, _ in islice(read_lines(file), 1, None)))
            self.path.unlink()

    def close(self) -> None:
        """Let go of the file, finished or not."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def finished(out: Path, layout: Layout) -> EarlierRows | None:
    """The rows of the finished file `out`, whatever its format; None where there is none that can be read."""
    if not out.exists():
        return None
    if format_of(out) == CSV and not has_mark(out):
        return EarlierRows(out.open("rb"), layout)
    file = tempfile.TemporaryFile()  # noqa: SIM115
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    with suppress(ValueError):  # a damaged row and those behind it are labelled again
        csv.writer(text).writerows(read_cells(out))
    text.detach()
    return EarlierRows(file, layout)


def model_of(out: Path) -> str:
    """The short fingerprint of model and options in the first row of the file `out`; "" where there is none."""
    if not out.exists():
        return ""
    with suppress(ValueError, OSError), closing(read_cells(out)) as lines:
        header, first = next(lines, []), next(lines, [])
        return printable(dict(zip(header, first, strict=False)).get("model", ""))
    return ""


def tell_replaced(out: Path, theirs: str, ours: str, progress: Progress) -> None:
    """Say so where the rows in `out`, of the fingerprint `theirs`, are not such as this run writes."""
    if theirs not in ("", ours):
        progress.warn(
            f"{printable(str(out))}: replaces the rows of another model or other options ({theirs} -> {ours})"
        )
