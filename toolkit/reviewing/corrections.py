"""`corrections.csv`: what people decided about images. Each decision is on the disk before the next one is taken.

It is a table of labels, as `--labels` takes it. An empty label says that the image shows none of the classes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.files import regular, write_csv
from toolkit.core.text import printable


@dataclass(frozen=True, slots=True)
class Correction:
    """One decision; the fields are the columns.

    Attributes:
        file_name: the image, as the table of results names it.
        label: what it shows; "" for none of the classes.
        was: the model's label, "" where it was unsure.
        decided: when, UTC.
    """

    file_name: str
    label: str
    was: str
    decided: str


COLUMNS: Final = tuple(field.name for field in fields(Correction))


class Corrections:
    """The decisions of one file, by image; the last one about an image counts.

    Args:
        path: made with the first decision; what an earlier review decided there stays.

    Raises:
        InputError: `path` is a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_name = {found.file_name: found for found in read_corrections(path)}

    def __len__(self) -> int:
        return len(self._by_name)

    def label(self, file_name: str) -> str | None:
        """The label that was decided; None where nothing was."""
        found = self._by_name.get(file_name)
        return found.label if found else None

    def decide(self, file_name: str, label: str, was: str) -> None:
        """Write a decision; it is on the disk when this returns."""
        self.add([Correction(file_name, label, was, now())])

    def add(self, corrections: Iterable[Correction]) -> None:
        """Write several decisions at once."""
        self._write({**self._by_name, **{found.file_name: found for found in corrections}})

    def take_back(self, file_name: str) -> None:
        """Forget a decision."""
        self._write({name: found for name, found in self._by_name.items() if name != file_name})

    def _write(self, decisions: dict[str, Correction]) -> None:
        write_csv(self.path, COLUMNS, ([getattr(found, name) for name in COLUMNS] for found in decisions.values()))
        self._by_name = decisions


def now() -> str:
    """The time as it stands in the file."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_corrections(path: Path) -> list[Correction]:
    """The decisions of a file, none where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    try:
        with regular(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _foreign(path, str(error)) from None
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise _foreign(path, f"its columns are {','.join(rows[0])}" if rows else "it is empty")
    return [Correction(*row) for row in rows[1:]]


def _foreign(path: Path, reason: str) -> InputError:
    return InputError(
        f"{printable(str(path))}: expected corrections with the columns {','.join(COLUMNS)}; {reason}",
        hint="choose another file with --out",
    )
