"""Result files read back: rows with named fields, whatever the format."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.parse import share
from toolkit.core.text import printable, with_formula
from toolkit.data.walk import Detection
from toolkit.inference.distributed.part_names import finished_parts
from toolkit.inference.extra_columns import DETECTION, parse_detection
from toolkit.inference.result_formats import read_cells
from toolkit.inference.result_table import CSV_SAFE, EMPTY, ERROR, OK, UNSURE, Cells
from toolkit.inference.resume import PARTIAL, Partial
from toolkit.splitting.table import unprintable

NEEDED: Final = ("path", "label", "confidence", "status")
"""The columns that a table of results must have to be sorted or looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedRow:
    """One row of a result file: a file, or what a detector saw in it.

    Attributes:
        path: as the table names the file.
        label: the class; "" where the row is unsure or an error.
        confidence: 0..1; None where nothing was labelled.
        status: "ok", "unsure", "error" or "empty".
        truth: the class whose folder the file lay in, else "".
        error: why there is no label, else "".
        likelihood: the probability of `truth` where there is one and the row has a label, else `confidence`.
        detection: the part of the image that was labelled; None for all of it.
        candidate: the most probable class of an unsure row, where the table has the probability of every class.
    """

    path: str
    label: str
    confidence: float | None
    status: str
    truth: str = ""
    error: str = ""
    likelihood: float | None = None
    detection: Detection | None = None
    candidate: str = ""


class SavedResults:
    """A result file, or a folder of parts, opened. Rows are read as they are asked for.

    Args:
        path: a .csv, .jsonl, .parquet or .json file of `toolkit infer`, or its folder of Parquet parts.
        root: the folder that relative paths in the table start from.

    Raises:
        InputError: no such file, no table of results, or one of a run that is not finished.
    """

    def __init__(self, path: Path, root: Path = Path()) -> None:
        self.path = path
        self.root = root
        self._parts = finished_parts(path) if path.is_dir() else None
        if self._parts is None:
            _require_table(path)
        self.columns = next(self._cells(), [])
        missing = [name for name in NEEDED if name not in self.columns]
        if missing:
            raise InputError(
                f"{printable(str(path))}: expected a table of results with the columns {', '.join(NEEDED)}; "
                f"{', '.join(missing)} not found",
                hint="toolkit infer photos/ --out labels.csv makes one",
            )

    @property
    def labels(self) -> list[str]:
        """The classes that the columns `p:<class>` name; empty where there are none."""
        return [name.removeprefix("p:") for name in self.columns if name.startswith("p:")]

    def __iter__(self) -> Iterator[SavedRow]:
        """Every row, in order.

        Raises:
            InputError: a row is damaged.
        """
        place = {name: i for i, name in enumerate(self.columns)}
        for number, cells in enumerate(self._cells()):
            if number == 0:
                continue
            try:
                yield _row(cells, place)
            except (IndexError, ValueError) as error:
                raise self._damaged(f"row {number:,}: {error}") from None

    def file(self, row: SavedRow) -> Path:
        r"""Where the image of a row is; `\xNN` in the table may stand for a byte of the file's real name."""
        path = self.root / row.path
        return self.root / unprintable(row.path) if "\\x" in row.path and not os.path.lexists(path) else path

    def require_files(self, rows: Iterable[SavedRow]) -> None:
        """Make sure that some image of `rows` is where the table says; those of errors may never have been there.

        Raises:
            InputError: none is.
        """
        n, example = 0, ""
        for row in rows:
            if row.status != ERROR:
                if os.path.lexists(self.file(row)):
                    return
                n, example = n + 1, example or row.path
        if n:
            raise self.none_there(n, example)

    def none_there(self, n: int, example: str) -> InputError:
        """The error where none of `n` images is where the table says; the hint names the folder where one is."""
        what = "its only image is not there" if n == 1 else f"none of its {n:,} images is there"
        for folder in self.path.resolve().parents:
            if os.path.lexists(folder / example):
                hint = f"--root {shlex.quote(printable(str(folder)))}: the paths in the table start from there"
                break
        else:
            hint = "run this where toolkit infer ran, or say with --root from which folder the paths start"
        return InputError(
            f"{printable(str(self.path))}: {what}, such as {printable(str(self.root / example))}", hint=hint
        )

    def _cells(self) -> Iterator[Cells]:
        try:
            yield from read_cells(self.path) if self._parts is None else self._cells_of_parts(self._parts)
        except ValueError as error:
            raise self._damaged(str(error)) from None

    def _cells_of_parts(self, parts: Mapping[Path, int]) -> Iterator[Cells]:
        """The header, and the rows of one part behind those of the other."""
        header: Cells | None = None
        for path, n_rows in parts.items():
            lines = read_cells(path)
            found = next(lines, None)
            if header is None and found is not None:
                header = found
                yield header
            n = 0
            for cells in lines:
                n += 1
                yield cells
            if found != header or n != n_rows:
                raise self._damaged(f"{path.name}: expected {n_rows:,} rows with the columns of the other parts")

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{printable(str(self.path))}: this table is damaged ({reason})",
            hint="make it again: toolkit infer photos/ --out labels.csv",
        )


def _require_table(path: Path) -> None:
    """Raises:
    InputError: there is no file, or it holds the rows of a run that is not finished.
    """
    shown, again = printable(str(path)), "run the same toolkit infer line again: it continues where it stopped"
    if path.is_file() and path.suffix == PARTIAL:
        raise InputError(f"{shown}: the first rows of a run that is not finished", hint=again)
    if path.is_file():
        return
    partial = Partial.place(path)
    if partial.is_file():
        name = printable(partial.name)
        raise InputError(f"{shown}: not there; {name} holds the first rows of a run that is not finished", hint=again)
    raise InputError(
        f"{shown}: expected a table of results, found nothing", hint="toolkit infer photos/ --out labels.csv makes one"
    )


def _row(cells: Cells, place: dict[str, int]) -> SavedRow:
    if "model" in place and cells[place["model"]].endswith(CSV_SAFE):
        cells = [with_formula(cell) for cell in cells]
    status, label = cells[place["status"]], cells[place["label"]]
    if status not in (OK, UNSURE, ERROR, EMPTY):
        raise ValueError(f"status {status!r} is none of {OK}, {UNSURE}, {ERROR}, {EMPTY}")
    confidence = share(cells[place["confidence"]]) if status in (OK, UNSURE) else None
    truth = cells[place["truth"]] if "truth" in place else ""
    return SavedRow(
        path=cells[place["path"]],
        label=label if status == OK else "",
        confidence=confidence,
        status=status,
        truth=truth,
        error=cells[place["error"]] if "error" in place else "",
        likelihood=_likelihood(cells, place, truth, label, confidence) if status == OK else confidence,
        detection=parse_detection([cells[place[name]] for name in DETECTION.columns])
        if place.keys() >= set(DETECTION.columns)
        else None,
        candidate=_candidate(cells, place) if status == UNSURE else "",
    )


def _candidate(cells: Cells, place: dict[str, int]) -> str:
    every = {name.removeprefix("p:"): share(cells[i]) for name, i in place.items() if name.startswith("p:")}
    return max(every, key=every.__getitem__, default="")


def _likelihood(cells: Cells, place: dict[str, int], truth: str, label: str, confidence: float | None) -> float | None:
    if confidence is None or not truth:
        return confidence
    if (column := place.get(f"p:{truth}")) is not None:
        return share(cells[column])
    return confidence if truth == label else 1 - confidence
