"""`corrections.csv`: what people decided about images. Each decision is on the disk before the next one is taken.

It is a table of labels, as `--labels` takes it. An empty label says that the image shows none of the classes. Other
programs may change it meanwhile: what they wrote is taken over before anything is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.files import kind_of, regular, write_csv
from toolkit.core.text import printable
from toolkit.data.label_table import CORRECTIONS, read_cells


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


class Corrections:
    """The decisions of one file, by image; the last one about an image counts.

    Args:
        path: made with the first decision; what an earlier review decided there stays.

    Raises:
        InputError: `path` is a file that holds something else, or a link.
    """

    def __init__(self, path: Path) -> None:
        if path.is_symlink():
            raise _foreign(path, f"found {kind_of(path)}")
        self.path = path
        self._mine: dict[str, Correction] = {}  # decided here, since the start
        self._state = _state(path)
        self._lacking = False  # whether a decision of this review is not in the file
        self._by_name = _by_name(read_corrections(path))

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
        new = _by_name(corrections)
        self.refresh()
        self._write({**self._by_name, **new})
        self._mine |= new

    def take_back(self, file_name: str) -> None:
        """Forget a decision."""
        self.refresh()
        self._write({name: found for name, found in self._by_name.items() if name != file_name})
        self._mine.pop(file_name, None)

    def refresh(self) -> None:
        """Take over what another program wrote into the file.

        Its rows count, and a row that it took away is gone; but a decision of this review that is newer stays: the
        program may have read the file before.

        Raises:
            InputError: it is no file of corrections any more; nothing is written over it.
        """
        state = _state(self.path)
        if state == self._state:
            return
        theirs = _by_name(read_corrections(self.path)) if state else self._by_name
        kept = {
            name: mine for name, mine in self._mine.items() if name not in theirs or theirs[name].decided < mine.decided
        }
        self._state, self._by_name = state, {**theirs, **kept}
        self._lacking = self._by_name != theirs or not state

    def finish(self) -> None:
        """Write what was decided here and another program has taken out of the file meanwhile."""
        self.refresh()
        if self._lacking:
            self._write(self._by_name)

    def _write(self, decisions: dict[str, Correction]) -> None:
        write_csv(self.path, CORRECTIONS, map(astuple, decisions.values()), csv_safe=True)
        self._by_name, self._state, self._lacking = decisions, _state(self.path), False


def _by_name(corrections: Iterable[Correction]) -> dict[str, Correction]:
    return {found.file_name: found for found in corrections}


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with each write; None where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def now() -> str:
    """The time as it stands in the file."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_corrections(path: Path) -> list[Correction]:
    """The decisions of a file, also as a spreadsheet has saved it; none where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    try:
        regular(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _foreign(path, error.strerror or str(error)) from None
    rows = read_cells(path)
    header = next(rows)
    if tuple(header) != CORRECTIONS:
        raise _foreign(path, f"its columns are {','.join(header)}" if header else "it is empty")
    found = []
    for number, row in enumerate(rows, 2):
        if any(row):
            if len(row) != len(CORRECTIONS) or not row[0]:
                raise _foreign(path, f"row {number:,} is {','.join(row):.80}")
            found.append(Correction(*row))
    return found


def _foreign(path: Path, reason: str) -> InputError:
    return InputError(
        f"{printable(str(path))}: expected corrections with the columns {','.join(CORRECTIONS)}; {reason}",
        hint="choose another file with --out",
    )
