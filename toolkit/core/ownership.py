"""Nothing is overwritten that we did not write: the one rule for every command that writes a file.

An output that exists is replaced only if it is ours, which its first bytes show: the header of a table, the marker of a
page, the contract of a model. An empty file holds nothing that could be lost. `--force` replaces a foreign file, but
neither a folder nor a pipe or a device, and of a link the link alone.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import kind_of, regular
from toolkit.core.parse import parse_json
from toolkit.core.text import printable

HEAD_BYTES: Final = 1 << 20
"""Of a foreign file no more is read to see whether it is ours."""

PAGE_MARKER: Final = '<meta name="generator" content="toolkit">'
"""Stands in the head of every page that we write."""


def refuse_stdout(path: Path | str, option: str = "--out") -> None:
    """Only a table of `infer` can go to standard output.

    Raises:
        UsageError: `path` is "-".
    """
    if str(path) == "-":
        raise UsageError(
            f"{option} -: expected a name; only toolkit infer writes to standard output",
            hint=f"choose a name with {option}",
        )


def claim(path: Path, is_ours: Callable[[Path], bool], *, force: bool | None = False, option: str = "--out") -> None:
    """Make sure that `path` may be written.

    Args:
        is_ours: whether a regular file that is not empty is one of ours.
        force: replace a foreign file, too; None where the command has no such option.
        option: names the file on the command line.

    Raises:
        InputError: it exists and is not ours, is a link, or is not a file; it is untouched.
        UsageError: it is "-".
    """
    refuse_stdout(path, option)
    try:
        status = os.lstat(path)
    except OSError:
        return
    if stat.S_ISREG(status.st_mode):
        if force or status.st_size == 0 or _asked(is_ours, path):
            return
        raise InputError(
            f"{printable(str(path))}: exists, and toolkit did not write it; it is left untouched",
            hint=f"choose another name with {option}" + ("" if force is None else ", or replace it with --force"),
        )
    if force and stat.S_ISLNK(status.st_mode):
        return
    hint = f"choose another name with {option}"
    if stat.S_ISLNK(status.st_mode):
        hint = "give the name of the file itself, or replace the link with --force"
    raise InputError(
        f"{printable(str(path))}: expected the name of a file to write, found {kind_of(path)}; it is left untouched",
        hint=hint,
    )


def claim_folder(
    path: Path,
    names: Iterable[str],
    is_ours: Callable[[Path], bool],
    *,
    force: bool | None = False,
    option: str = "--out",
) -> None:
    """Make sure that the files `names` may be written into the folder `path`.

    Args:
        names: of the files and folders that will be written; others in the folder stay as they are.
        is_ours: whether a folder is one that we wrote; then its files of these names are ours, too.
        option: names the folder on the command line.

    Raises:
        InputError: one of them is there already, in a folder that is not ours; or `path` is not a folder.
        UsageError: it is "-".
    """
    refuse_stdout(path, option)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(
            f"{printable(str(path))}: expected a folder, found {kind_of(path)}",
            hint=f"choose another name with {option}",
        )
    if force or _asked(is_ours, path):
        return
    taken = sorted(name for name in names if os.path.lexists(path / name))
    if taken:
        raise InputError(
            f"{printable(str(path))}: holds {printable(', '.join(taken[:5]))}, and toolkit did not write it; "
            "nothing in it is touched",
            hint=f"choose another folder with {option}" + ("" if force is None else ", or replace them with --force"),
        )


def _asked(is_ours: Callable[[Path], bool], path: Path) -> bool:
    try:
        return is_ours(path)
    except (OSError, ValueError, RecursionError, csv.Error):
        return False


def has_columns(path: Path, columns: Collection[str], *, first: str) -> bool:
    """Whether the CSV `path` begins with the column `first` and has all of `columns`."""
    with path.open("rb") as file:
        text = file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    return header[:1] == [first] and set(columns) <= set(header)


def is_torn(path: Path, begin: bytes) -> bool:
    """Whether `path` is a table whose first line a kill or a power failure cut off: less than a line that begins like
    `begin`, zeros behind it."""
    with path.open("rb") as file:
        text = file.read(HEAD_BYTES).rstrip(b"\0")
    return b"\n" not in text and begin.startswith(text[: len(begin)])


def is_page(path: Path) -> bool:
    """Whether the HTML page `path` is one of ours."""
    with path.open("rb") as file:
        return PAGE_MARKER.encode() in file.read(1 << 12)


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; {} where there is none, whatever else is there."""
    try:
        with regular(path).open("rb") as file:
            found = parse_json(file.read(64 * HEAD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
