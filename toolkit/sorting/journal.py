"""`sort.csv` in a sorted folder: what was placed where, written before it is done, so that all can be taken back.

No name in it is a formula to a spreadsheet: an apostrophe stands before such a one, and is taken away on reading.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Final

from toolkit.core.errors import InputError
from toolkit.core.files import naming, regular, write_csv
from toolkit.core.text import no_formula, printable, with_formula
from toolkit.splitting.mode import Mode

JOURNAL: Final = "sort.csv"


@dataclass(frozen=True, slots=True)
class Placement:
    """One file and its place; the fields are the columns of the journal.

    Attributes:
        path: as the table of results names the file.
        target: its place in the sorted folder, forward slashes.
        mode: copy, hardlink, symlink or move.
        source: where the file was, absolute.
        size, mtime_ns: of the file when it was placed.
    """

    path: str
    target: str
    mode: str
    source: str
    size: int
    mtime_ns: int

    @property
    def folder(self) -> str:
        """The folder in the sorted tree that the file goes to."""
        return self.target.partition("/")[0]


COLUMNS: Final = tuple(field.name for field in fields(Placement))


def read_journal(folder: Path) -> list[Placement] | None:
    """What earlier runs placed in `folder`, or were about to place; None where there is no journal.

    A last line that a crash cut off is left out: what it was to say had not been done.

    Raises:
        InputError: a file called `sort.csv` that is not a journal.
    """
    path = folder / JOURNAL
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError:
        return None
    try:
        whole = content[: content.rfind(b"\n") + 1].decode("utf-8", "surrogateescape")
        header, *rows = csv.reader(whole.splitlines(keepends=True), strict=True)
        if tuple(header) != COLUMNS:
            raise ValueError(f"its columns are {','.join(header)}")
        return [_placement(row) for row in rows]
    except (ValueError, IndexError, TypeError, csv.Error) as error:
        raise InputError(
            f"{printable(str(path))}: this is not the journal of a sorted folder ({error})",
            hint="choose another folder with --into",
        ) from None


def _placement(row: list[str]) -> Placement:
    path, target, mode, source, size, mtime_ns = map(with_formula, row)
    if "\0" in target + source:
        raise ValueError("a name holds a null character")
    return Placement(path, target, Mode(mode), source, int(size), int(mtime_ns))


class Journal:
    """The journal of `folder`, open for appending; a line is on the disk before the file is placed."""

    def __init__(self, folder: Path, earlier: Iterable[Placement]) -> None:
        write_journal(folder, earlier)  # without a line that a crash cut off
        self._path = folder / JOURNAL
        self._file: IO[str] = self._path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file)

    def add(self, placements: Iterable[Placement]) -> None:
        """Say what is placed next."""
        with naming(self._path):
            self._writer.writerows(_cells(placement) for placement in placements)
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # what did not fit on the disk does not fit now; `add` has said so
            self._file.close()


def write_journal(folder: Path, placements: Iterable[Placement]) -> None:
    """Replace the journal, whole or not at all."""
    write_csv(folder / JOURNAL, COLUMNS, map(_cells, placements), errors="surrogateescape")


def _cells(placement: Placement) -> list[str]:
    return [no_formula(str(getattr(placement, name))) for name in COLUMNS]
