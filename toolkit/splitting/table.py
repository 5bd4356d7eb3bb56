"""What a split leaves behind: `split.csv`, one row per source file, and `split.json`, its settings and state."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TextIO

from toolkit.core.errors import InputError
from toolkit.core.files import regular, write_csv, write_json
from toolkit.core.parse import parse_json
from toolkit.core.text import printable, with_formula
from toolkit.data.split_tree import STATE

PLAN: Final = ".split.plan.csv"
"""The table of a split whose files are being placed; it becomes `split.csv`."""

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class SplitRow:
    r"""One row of `split.csv`; the fields are its columns.

    Names are held as the system has them; in the file, bytes that are not UTF-8 appear as `\xNN`, and an apostrophe
    stands before what a spreadsheet would compute.

    Attributes:
        path: the file's place in the source, forward slashes.
        label: its class, "" where it is in none.
        subset: "train", "validation" or "test"; "" where it is left out.
        target: its place in the split, forward slashes; "" where it is left out.
        reason: why it is left out, one word of a fixed set; "" where it is kept.
        note: the reason in a sentence; or, of a kept file, what is odd about it.
        group: what is kept together with it, "" where it stands alone.
        sha256: of its bytes, hex; "" where it was not read.
    """

    path: str
    label: str
    subset: str = ""
    target: str = ""
    reason: str = ""
    note: str = ""
    group: str = ""
    sha256: str = ""

    def printed(self) -> tuple[str, ...]:
        """The cells as they stand in the file, but for apostrophes."""
        cells: tuple[str, ...] = _cells(self)
        return cells if "".join(cells).isascii() else tuple(map(printable, cells))


COLUMNS: Final = tuple(field.name for field in fields(SplitRow))
_cells = attrgetter(*COLUMNS)  # `astuple` copies each cell, which takes forty times as long


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """`split.json`: what the folder holds.

    Attributes:
        complete: False while files are being placed, and after a crash.
        update: whether new files are being added to a complete split; meaningful while `complete` is False.
        originals: whether some of its files are originals (`--mode move`), which are never deleted.
        source: the folder that holds the class folders, or the archive, as an absolute path.
        fingerprint: of the source's names, sizes and times.
        settings: what decides the outcome: ratio, seed, mode and the like.
    """

    complete: bool
    update: bool
    originals: bool
    source: str
    fingerprint: str
    settings: dict[str, Any]


def write_rows(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write `split.csv`, whole or not at all (RFC 4180, UTF-8)."""
    write_csv(path, COLUMNS, (row.printed() for row in rows), csv_safe=True)


def read_rows(path: Path) -> list[SplitRow]:
    """Read `split.csv` back.

    Raises:
        InputError: missing, or without the columns of this version.
    """
    try:
        with regular(path).open(newline="", encoding="utf-8") as file:
            lines = _Whole(file)
            reader = csv.reader(lines, strict=True)
            header = tuple(next(reader, ()))
            rows = [SplitRow(*map(with_formula, cells)) for cells in reader] if header == COLUMNS else None
        if lines.torn:
            raise ValueError("its last line is torn")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as the table of a split ({error})", hint=_REMAKE) from None
    if rows is None:
        raise InputError(f"{path}: expected the columns {','.join(COLUMNS)}; found {','.join(header)}", hint=_REMAKE)
    return [_row_of_system(row, path.parent) for row in rows]


class _Whole:
    """The lines of a file, and whether the last one lacks its end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.torn = False

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.torn = not line.endswith("\n")
            yield line


_REMAKE: Final = "split again into another folder with --out"


def _row_of_system(row: SplitRow, out: Path) -> SplitRow:
    r"""`printable` undone for `target`, where `\xNN` is not what the file is really called."""
    if "\\x" not in row.target or (out / row.target).exists():
        return row
    return replace(row, target=unprintable(row.target))


def unprintable(text: str) -> str:
    r"""`scan.printable` undone: `\xNN` of a byte that is not ASCII becomes that byte, as the system names files."""
    return os.fsdecode(re.sub(rb"\\x([89a-f][0-9a-f])", lambda x: bytes.fromhex(x[1].decode()), os.fsencode(text)))


def write_state(out: Path, state: State) -> None:
    """Write `split.json` into the folder of a split."""
    write_json(out / STATE, {"schema": SCHEMA, **asdict(state), "source": printable(state.source)})


def read_state(out: Path) -> State | None:
    """The state of the split in `out`; None where `out` holds none.

    Raises:
        InputError: `split.json` is damaged or of another version.
    """
    path = out / STATE
    try:
        found = parse_json(regular(path).read_text(encoding="utf-8"))
        schema = found.pop("schema")
        if schema != SCHEMA:
            raise InputError(f"{path}: expected schema {SCHEMA}, found {schema!r}", hint=_REMAKE)
        return State(**{**found, "source": unprintable(found["source"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this is not the state of a split ({error})", hint=_REMAKE) from None
