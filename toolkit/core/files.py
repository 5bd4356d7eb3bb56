"""Files that appear whole or not at all.

What a killed run leaves beside a file is removed by the next run that writes the same file: each temporary file is
locked by the process that writes it, so one that can be locked belongs to nobody any more.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from toolkit.core.errors import InputError
from toolkit.core.text import no_formula, printable

_FULL: Final = frozenset(
    number
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS")
    if (number := getattr(errno, name, None)) is not None
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` when the block ends well.

    The old `path` stays whole until then, and for good if the block raises. The folder is made where it is missing. An
    error of a full disk names `path`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "labels.csv") as temporary:
    ...     _ = temporary.write_text("path,label\\n")
    >>> [p.name for p in folder.iterdir()]
    ['labels.csv']
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=".tmp" + path.suffix[:40], dir=path.parent)
        temporary = Path(name)
        try:
            _try_lock(handle)
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; it becomes `path` when the block ends well, in place of the old one.

    On Linux the two are exchanged in one step. Elsewhere the old one is moved aside first; it is there again if the
    second step fails, and the next run puts it back where this one is killed between the two.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_folder(folder / "kit") as temporary:
    ...     _ = (temporary / "labels.txt").write_text("Cat")
    >>> [p.name for p in folder.iterdir()]
    ['kit']
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        place = Path(tempfile.mkdtemp(prefix=_prefix(path), suffix=".tmp" + path.suffix[:40], dir=path.parent))
        new, old = place / "new", place / "old"
        handle = _held(place)
        try:
            new.mkdir()
            yield new
            for file in _files_below(new):
                _sync(file)
            if not _exchange(new, path):
                _replace_in_two_steps(new, path, old)
        finally:
            shutil.rmtree(place, ignore_errors=True)
            os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs left when they wrote `path`; what a living process writes is left alone."""
    pattern = re.compile(re.escape(_prefix(path)) + r"[a-z0-9_]{8}\.tmp" + re.escape(path.suffix[:40]))
    with suppress(OSError):
        with os.scandir(path.parent) as entries:
            found = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
        for leftover in found:
            _remove_leftover(leftover, path)


def _remove_leftover(leftover: Path, path: Path) -> None:
    with suppress(OSError):
        handle = os.open(leftover, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if not _try_lock(handle):
                return
            if not leftover.is_dir():
                leftover.unlink()
                return
            if (leftover / "old").is_dir() and not os.path.lexists(path):
                (leftover / "old").rename(path)
            shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(handle)


def _prefix(path: Path) -> str:
    """At most 120 bytes, so that the name of a temporary file fits where that of `path` does."""
    return f".{os.fsdecode(os.fsencode(path.name)[:120])}."


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _exchange(new: Path, path: Path) -> bool:
    """Let two folders change their names in one step, or give `new` the name where nothing has it; False: cannot."""
    if not os.path.lexists(path):
        new.rename(path)
        return True
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2
    return renameat2 is not None and not renameat2(here, os.fsencode(new), here, os.fsencode(path), exchange)


def _replace_in_two_steps(new: Path, path: Path, old: Path) -> None:
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Errors of a full disk name `path`: the system names no file, or the one that was copied."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and (error.filename is None or str(error.filename) != str(path)):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8 with the line endings of `text`; it appears whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: object) -> None:
    r"""Write `content` as JSON, in the order of its keys, ended by a line break.

    Bytes of names that are not UTF-8 are written as JSON escapes them: `\udce9` for E9.

    Raises:
        ValueError: a number in it is infinite or NaN.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode())


def write_csv(
    path: Path,
    columns: Iterable[object],
    rows: Iterable[Iterable[object]],
    *,
    errors: str = "strict",
    csv_safe: bool = False,
) -> None:
    """Write a table as RFC 4180, UTF-8, each line ended by CR LF; it appears whole or not at all.

    Args:
        errors: "surrogateescape" keeps the bytes of names that are not UTF-8.
        csv_safe: an apostrophe before each text that a spreadsheet would take for a formula; see `no_formula`.

    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "table.csv"
    >>> write_csv(table, ["path", "label"], [["a,b.jpg", "Cat"]])
    >>> table.read_bytes()
    b'path,label\\r\\n"a,b.jpg",Cat\\r\\n'
    """
    with atomic_write(path) as temporary:
        fill_csv(temporary, columns, rows, errors=errors, csv_safe=csv_safe)


def fill_csv(
    path: Path,
    columns: Iterable[object],
    rows: Iterable[Iterable[object]],
    *,
    errors: str = "strict",
    csv_safe: bool = False,
) -> None:
    """As `write_csv`, for a file that its caller puts in its place: a temporary one."""
    if csv_safe:
        columns, rows = map(_no_formula, columns), (map(_no_formula, row) for row in rows)
    with path.open("w", encoding="utf-8", errors=errors, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _no_formula(cell: object) -> object:
    return no_formula(cell) if isinstance(cell, str) else cell


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


if sys.platform == "win32":

    def _try_lock(_handle: int) -> bool:
        return True  # an open file cannot be removed there

    def _held(_folder: Path) -> int:
        return os.open(os.devnull, os.O_RDONLY)

else:
    import fcntl

    def _held(folder: Path) -> int:
        """The handle of a folder that is locked."""
        handle = os.open(folder, os.O_RDONLY)
        _try_lock(handle)
        return handle

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a disk without locks: what lies there is taken for left over
        return True


def open_own(path: Path, mode: Literal["rb", "wb", "r+b"]) -> BinaryIO:
    """Open a file that we keep beside an output, unbuffered; never through a link, and a pipe does not hold us up.

    Raises:
        InputError: a link, a folder, a pipe or a device has the name.
        FileNotFoundError: it is to be read, and is not there.
    """
    flags = {"rb": os.O_RDONLY, "wb": os.O_RDWR | os.O_CREAT, "r+b": os.O_RDWR}[mode]  # "wb" truncates once it is ours
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_file(path)
    if mode == "wb":
        os.ftruncate(handle, 0)
    if mode == "rb":
        return open(path, "rb", opener=lambda *_: handle)
    return cast("BinaryIO", open(path, "r+b", buffering=0, opener=lambda *_: handle))


def _no_file(path: Path) -> InputError:
    return InputError(
        f"{printable(str(path))}: expected a file of an earlier run, or nothing; found {kind_of(path)}",
        hint="move it away, or choose another name with --out",
    )


def kind_of(path: Path) -> str:
    """What has the name `path`, in words.

    >>> kind_of(Path("/"))
    'a folder'
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "nothing"
    if stat.S_ISLNK(mode):
        return f"a link to {printable(os.readlink(path))}"
    return "a file" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def regular(path: Path) -> Path:
    """`path`, which can be opened without waiting: a pipe that lies among somebody's files does not hold us up.

    Raises:
        OSError: nothing is there, or a pipe, a socket or a device.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "expected a file, found a pipe, a socket or a device", os.fspath(path))
    return path


def file_digest(path: Path | str) -> str:
    """SHA-256 (hex) of the file's bytes; a pipe or a device is an `OSError`."""
    with regular(Path(path)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
