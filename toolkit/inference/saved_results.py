"""Result files read back: rows with named fields, whatever the format."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.text import printable, with_formula
from toolkit.data.walk import Detection
from toolkit.inference.extra_columns import DETECTION, parse_detection
from toolkit.inference.result_formats import CSV, format_of, read_table
from toolkit.inference.result_table import CSV_SAFE, EMPTY, ERROR, OK, UNSURE, Cells, read_lines
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
    """

    path: str
    label: str
    confidence: float | None
    status: str
    truth: str = ""
    error: str = ""
    likelihood: float | None = None
    detection: Detection | None = None


class SavedResults:
    """A result file, opened.

    Args:
        path: a .csv, .jsonl, .parquet or .json file of `toolkit infer`.
        root: the folder that relative paths in the table start from.

    Raises:
        InputError: no such file, or no table of results.
    """

    def __init__(self, path: Path, root: Path = Path()) -> None:
        self.path = path
        self.root = root
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise InputError(
                f"{printable(str(path))}: expected a table of results, found {found}",
                hint="toolkit infer photos/ --out labels.csv makes one",
            )
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

    def _cells(self) -> Iterator[Cells]:
        if format_of(self.path) != CSV:
            yield from chain.from_iterable(read_table(self.path))
            return
        try:
            with self.path.open("rb") as file:
                if file.read(3) != b"\xef\xbb\xbf":  # Excel begins a table with this mark
                    file.seek(0)
                yield from (cells for cells, _ in read_lines(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{printable(str(self.path))}: this table is damaged ({reason})",
            hint="make it again: toolkit infer photos/ --out labels.csv",
        )


def _row(cells: Cells, place: dict[str, int]) -> SavedRow:
    if "model" in place and cells[place["model"]].endswith(CSV_SAFE):
        cells = [with_formula(cell) for cell in cells]
    status, label = cells[place["status"]], cells[place["label"]]
    if status not in (OK, UNSURE, ERROR, EMPTY):
        raise ValueError(f"status {status!r} is none of {OK}, {UNSURE}, {ERROR}, {EMPTY}")
    confidence = float(cells[place["confidence"]]) if status in (OK, UNSURE) else None
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
    )


def _likelihood(cells: Cells, place: dict[str, int], truth: str, label: str, confidence: float | None) -> float | None:
    if confidence is None or not truth:
        return confidence
    if (column := place.get(f"p:{truth}")) is not None:
        return float(cells[column])
    return confidence if truth == label else 1 - confidence
