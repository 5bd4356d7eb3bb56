"""Labels from tables instead of folders: `file_name,label` as Hugging Face's ImageFolder has it, and several in a row.

Each row names a file of the dataset and its class. Of several tables the later one counts where both name a file, so
that `corrections.csv` of a review goes behind the table that it corrects. The word `folders` in the place of a table
stands for the names of the class folders.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from toolkit.core.coerce import path_text
from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import regular
from toolkit.core.progress import Progress
from toolkit.core.text import counted, printable, with_formula
from toolkit.data.remote.urls import shown_input
from toolkit.data.walk import slashes, walk

FOLDERS: Final = "folders"
METADATA: Final = "metadata.csv"
COLUMNS: Final = ("file_name", "label")
CORRECTIONS: Final = (*COLUMNS, "was", "decided")
"""The columns of what `toolkit review` writes. No cell of it is a formula to a spreadsheet; see `no_formula`."""

TABLE_HINT: Final = f"a table with the columns {','.join(COLUMNS)}: --labels labels.csv, or a {METADATA} in the folder"
"""What else than class folders gives labels."""

_FILES: Final = ("file_name", "filename", "file", "path", "image", "img", "image_path", "photo")
_CLASSES: Final = ("label", "class", "class_name", "category", "species", "target")
"""What columns are called elsewhere."""

SHOWN: Final = 10
"""Rows without a file that are named one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTables:
    """Where labels come from.

    Attributes:
        tables: files, or the word `folders`, in the order in which they count; () looks for `metadata.csv`.
        columns: the names of the columns with the file and with its label.
    """

    tables: tuple[str, ...] = ()
    columns: tuple[str, str] = COLUMNS

    @classmethod
    def parse(cls, tables: Sequence[str | os.PathLike[str]], columns: str = ",".join(COLUMNS)) -> LabelTables:
        """The options `--labels` and `--columns`.

        Raises:
            UsageError: not two names of columns.
        """
        names = tuple(name.strip() for name in columns.split(","))
        if len(names) != 2 or not all(names):
            raise UsageError(
                f"--columns {columns}: expected the names of two columns, of the file and of the label",
                hint=f"--columns {','.join(COLUMNS)}",
            )
        return cls(tables=tuple(os.fspath(table) for table in tables), columns=(names[0], names[1]))

    @classmethod
    def of(cls, given: object) -> LabelTables | None:
        """What Python gives for an option `labels`: the tables, or the path of one, or several paths.

        >>> LabelTables.of("labels.csv").tables
        ('labels.csv',)

        Raises:
            UsageError: something else.
        """
        if given is None or isinstance(given, cls):
            return given
        several = given if isinstance(given, (list, tuple)) else [given]
        return cls(tables=tuple(path_text(table, "--labels") for table in several))


@dataclass(kw_only=True, slots=True)
class Labels:
    """The labels of one dataset.

    Attributes:
        tables: where they come from, for messages.
        by_place: place of the file in the dataset, forward slashes -> its class; "" where it shows none of them.
        contradictions: place -> the classes that one table gives it.
        missing: rows that name no file.
        outside: rows that name a file outside of the dataset's folder.
        inside: the table among the files themselves, where it was found there; its place.
    """

    tables: str
    by_place: dict[str, str] = field(default_factory=dict)
    contradictions: dict[str, tuple[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    inside: str = ""

    def problem(self, place: str) -> tuple[str, str] | None:
        """Why a file has no class: one word and a sentence; None where it has one."""
        if place in self.contradictions:
            one, other = self.contradictions[place]
            return "two_labels", f"{self.tables} says {one} and {other}"
        if place not in self.by_place:
            return "no_class", f"has no row in {self.tables}"
        return None if self.by_place[place] else ("no_class", f"has no label in {self.tables}")

    def warn(self, progress: Progress) -> None:
        """Name the rows without a file, and those that name a file elsewhere."""
        for names, problem in (
            (self.missing, "no such file in the dataset"),
            (self.outside, "left out, it lies outside of the dataset's folder"),
        ):
            for name in names[:SHOWN]:
                progress.warn(f"{self.tables}: {problem}: {printable(name)}")
            if len(names) > SHOWN:
                progress.warn(f"{self.tables}: {problem}: {len(names) - SHOWN:,} more rows")


def find_labels(
    root: Path, places: Collection[str], wanted: LabelTables | None, read: Callable[[str], bytes] | None = None
) -> Labels | None:
    """The labels of the files at `places` in the folder or archive `root`; None where their folders are to say.

    Without a table, a `metadata.csv` in `root` with the two columns is taken; in an archive also one in the lone folder
    around all.

    Args:
        read: gives the bytes of the file at a place of an archive.

    Raises:
        InputError: a table is missing, damaged or without the columns; or none of its rows names a file.
    """
    wanted = wanted or LabelTables()
    tables, found, content = wanted.tables, "", None
    if not tables:
        found = _metadata(places, any_folder=read is not None)
        content = read(found) if read and found else None
        if not found or not _has_columns(root / found, wanted.columns, content):
            return None
        tables = (str(root / found),)
    if tables == (FOLDERS,):
        return None
    labels = Labels(tables=" and ".join(printable(Path(table).name) for table in tables), inside=found)
    finder = _Finder(root, places)
    for table in tables:
        if table == FOLDERS:
            labels.by_place |= {
                place: unicodedata.normalize("NFC", place.partition("/")[0]) for place in places if "/" in place
            }
        else:
            _add(labels, finder, Path(table), _rows(Path(table), wanted.columns, content), wanted.columns[0])
    return labels


def _metadata(places: Collection[str], *, any_folder: bool) -> str:
    """The place of the dataset's own table; "" where there is none."""
    if METADATA in places:
        return METADATA
    around = {place.partition("/")[0] for place in places if not place.startswith("__MACOSX/")}
    inside = f"{min(around, default='')}/{METADATA}"
    return inside if any_folder and len(around) == 1 and inside in places else ""


def labels_in(root: Path, wanted: LabelTables | None) -> Labels | None:
    """The labels of the files below the folder `root`; None where their folders are to say.

    Raises:
        InputError: as `find_labels`.
    """
    if not (wanted and wanted.tables) and not (root / METADATA).is_file():
        return None
    return find_labels(root, [slashes(place) for place in walk(str(root))], wanted)


def is_table(root: Path, place: str, wanted: LabelTables | None) -> bool:
    """Whether the file at `place` is one of the tables themselves."""
    tables = (wanted or LabelTables()).tables or (str(root / METADATA),)
    path = os.path.abspath(root / place)
    return any(os.path.abspath(table) == path for table in tables if table != FOLDERS)


def _add(labels: Labels, finder: _Finder, table: Path, rows: Iterable[tuple[str, str]], column: str) -> None:
    mine: dict[str, str] = {}
    missing: list[str] = []
    outside: list[str] = []
    for name, label in rows:
        place = finder.place(name, table)
        if place is None:
            (outside if finder.lies_outside(name, table) else missing).append(name)
        elif mine.setdefault(place, label) != label:
            labels.contradictions[place] = (mine[place], label)
    if not mine:
        shown, root = printable(str(table)), shown_input(finder.root)
        if outside:
            raise InputError(
                f"{shown}: none of its files lies in {root}: {printable(outside[0])}{_others(outside)}",
                hint="give the folder that holds these files as well, or bring them into it",
            )
        found = f"none of its files is there: {printable(missing[0])}{_others(missing)}" if missing else "no row"
        raise InputError(f"{shown}: {found}", hint=f"the column {column} holds paths that start from {root}")
    labels.missing += missing
    labels.outside += outside
    labels.contradictions = {
        place: pair for place, pair in labels.contradictions.items() if place not in mine or mine[place] in pair
    }
    labels.by_place |= mine


def _others(names: Sequence[str]) -> str:
    return f" and {len(names) - 1:,} more" if len(names) > 1 else ""


class _Finder:
    """Names in a table -> places in the dataset: from its folder, from the table's, or from the working directory."""

    def __init__(self, root: Path, places: Collection[str]) -> None:
        self.root = root
        self._start = os.path.join(os.path.abspath(root), "")
        self._places = {_key(place): place for place in places}
        around = {place.partition("/")[0] for place in places}
        if len(around) == 1:  # an archive often has one folder around all
            self._places |= {_key(place.partition("/")[2]): place for place in places}

    def place(self, name: str, table: Path) -> str | None:
        plain = os.path.normpath(name).replace(os.sep, "/")
        if not os.path.isabs(name) and (found := self._places.get(_key(plain))) is not None:
            return found
        for folder in ("", os.path.dirname(table)):
            path = os.path.abspath(os.path.join(folder, name))
            if path.startswith(self._start):
                inside = path[len(self._start) :].replace(os.sep, "/")
                if (found := self._places.get(_key(inside))) is not None:
                    return found
        return None

    def lies_outside(self, name: str, table: Path) -> bool:
        """Whether `name` is a file that is not in the dataset's folder."""
        paths = [os.path.abspath(os.path.join(folder, name)) for folder in ("", os.path.dirname(table))]
        return any(not path.startswith(self._start) and os.path.isfile(path) for path in paths)


def _key(place: str) -> str:
    """The same for the names that a file has on several systems, and in a table."""
    return unicodedata.normalize("NFC", printable(place))


def _has_columns(table: Path, columns: tuple[str, str], content: bytes | None) -> bool:
    try:
        return set(columns) <= set(next(read_cells(table, content), []))
    except (InputError, OSError):
        return False


def _rows(table: Path, columns: tuple[str, str], content: bytes | None = None) -> Iterator[tuple[str, str]]:
    """File and label of each row that names a file; a table with `COLUMNS` is understood whatever `columns` are."""
    cells = read_cells(table, content)
    header = next(cells, [])
    if not set(columns) <= set(header) and set(COLUMNS) <= set(header):
        columns = COLUMNS
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{printable(str(table))}: expected the columns {','.join(columns)}; found {','.join(header)}",
            hint=f"say which columns name the file and its label: --columns {_likely(header)}",
        )
    file, label = (header.index(name) for name in columns)
    for number, row in enumerate(cells, 2):
        if not any(map(str.strip, row)):
            continue
        if len(row) <= max(file, label):
            raise InputError(
                f"{printable(str(table))}: row {number:,} has {counted(len(row), 'cell')}, expected {len(header)}",
                hint="save the table again as CSV",
            )
        if row[file].strip():
            yield row[file].strip(), unicodedata.normalize("NFC", row[label].strip())


def _likely(header: Sequence[str]) -> str:
    """The two columns that probably name the file and its label.

    >>> _likely(["path", "label", "confidence"]), _likely(["id", "Species", "Image"]), _likely(["a", "b"])
    ('path,label', 'Image,Species', 'path,class')
    """
    lower = {name.lower(): name for name in reversed(header)}
    file = next((lower[name] for name in _FILES if name in lower), "path")
    return f"{file},{next((lower[name] for name in _CLASSES if name in lower), 'class')}"


def read_cells(table: Path, content: bytes | None = None) -> Iterator[list[str]]:
    """The header and the lines of a table, or of its `content`, as people and spreadsheets save them.

    UTF-8 with or without a byte order mark; whatever ends its lines; commas, semicolons or tabs separate its cells,
    which the header shows. Lines may be empty.

    Raises:
        InputError: missing, not UTF-8, or no table.
    """
    shown = printable(str(table))
    try:
        opened = regular(table).open("rb") if content is None else io.BytesIO(content)
        with io.TextIOWrapper(opened, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            separator = max(",;\t", key=header.count)
            lines = csv.reader(file, delimiter=separator, strict=True)
            names = [name.strip() for name in next(lines, [])]
            yield names
            ours = tuple(names) == CORRECTIONS
            for row in lines:
                yield list(map(with_formula, row)) if ours else row
    except FileNotFoundError:
        raise InputError(f"{shown}: expected a table of labels, found nothing", hint="check --labels") from None
    except UnicodeDecodeError:
        raise InputError(f"{shown}: not UTF-8 text", hint='save it as "CSV UTF-8"') from None
    except csv.Error as error:
        raise InputError(f"{shown}: not a table ({error})", hint="save it again as CSV") from None
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror})", hint="check --labels") from None
