"""One file brought to a place where nothing is, whole or not at all, and taken away again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from toolkit.core.files import file_digest, naming
from toolkit.core.text import printable
from toolkit.sorting.journal import Placement
from toolkit.splitting.mode import Mode

_STRAY: Final = ".sorting-"
"""How the name of a file begins that is not whole yet."""


class NotPlacedError(Exception):
    """A file was not placed, or not taken back; the text says why."""


def place(placement: Placement, target: str) -> None:
    """Bring one file to `target`.

    Raises:
        NotPlacedError: the source cannot be read, or something lies at `target`.
        OSError: the disk is full, or the folder may not be written to.
    """
    source, mode = placement.source, Mode(placement.mode)
    if os.path.lexists(target):
        if mode is Mode.MOVE and _is_copy(source, target):  # a run was killed just before the last step
            os.unlink(source)
            return
        raise NotPlacedError(f"{printable(target)} is there already, and it is never replaced")
    _require_file(source)
    try:
        with naming(target):
            if mode is Mode.SYMLINK:
                os.symlink(source, target)
            elif mode is Mode.HARDLINK:
                os.link(os.path.realpath(source), target)
            elif mode is Mode.COPY:
                _copy(source, target)
            else:
                _move(source, target)
    except FileExistsError:
        raise NotPlacedError(f"{printable(target)} is there already, and it is never replaced") from None
    except OSError as error:
        if mode is Mode.HARDLINK and error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise NotPlacedError("no hard link can be made there; use --mode copy or --mode symlink") from None
        raise


def _require_file(source: str) -> None:
    """A pipe does not hold us up.

    Raises:
        NotPlacedError: `source` cannot be read, or is not a file.
    """
    try:
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise NotPlacedError("expected a file, found a folder, a pipe, a socket or a device")
        finally:
            os.close(handle)
    except OSError as error:
        raise NotPlacedError(f"cannot be read ({error.strerror})") from None


def take_back(placement: Placement, target: str) -> bool:
    """Undo `place`; False where nothing lies at `target`.

    Raises:
        NotPlacedError: the file is not as it was placed, or it is the last copy; it is left.
    """
    if not os.path.lexists(target):
        return False
    mode = Mode(placement.mode)
    if mode is Mode.MOVE:
        _give_back(placement, target)
        return True
    if mode is Mode.SYMLINK:
        if not os.path.islink(target) or os.readlink(target) != placement.source:
            raise NotPlacedError("it is not the link that was made; it is left there")
    elif not os.path.exists(placement.source):
        raise NotPlacedError(f"{printable(placement.source)} is gone, so this may be the last copy; it is left there")
    elif mode is Mode.HARDLINK:
        if not os.path.samefile(placement.source, target):
            raise NotPlacedError("it is not the file that was linked; it is left there")
    elif _state(target) != (placement.size, placement.mtime_ns):
        raise NotPlacedError("it was changed since; it is left there")
    os.unlink(target)
    return True


def _give_back(placement: Placement, target: str) -> None:
    if os.path.lexists(placement.source):
        if _is_copy(placement.source, target):  # a run was killed just before the last step
            os.unlink(target)
            return
        raise NotPlacedError(f"{printable(placement.source)} is there again; neither is touched")
    os.makedirs(os.path.dirname(placement.source), exist_ok=True)
    _move(target, placement.source)


def remove_strays(into: Path, folders: Iterable[str]) -> None:
    """Remove what a killed run left half copied."""
    for folder in folders:
        for stray in (into / folder).glob(f"{_STRAY}*"):
            stray.unlink(missing_ok=True)


def _is_copy(source: str, target: str) -> bool:
    """Whether the two are one file, or two of the same bytes."""
    try:
        return os.path.samefile(source, target) or file_digest(source) == file_digest(target)
    except OSError:
        return False


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _copy(source: str, target: str) -> None:
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f"{_STRAY}{hashlib.sha256(os.fsencode(name)).hexdigest()[:24]}")
    try:
        shutil.copy2(source, temporary)
        _rename(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _move(source: str, target: str) -> None:
    """A rename that replaces nothing; to another disk a copy that is whole before the original goes."""
    if os.path.islink(source):
        raise NotPlacedError("a link, which is not moved")
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        with open(target, "rb") as file:  # noqa: PTH123
            os.fsync(file.fileno())
        os.unlink(source)


def _rename(source: str, target: str) -> None:
    """`os.rename` that fails where something is: a second name first, then the first name goes."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(target):  # a disk without hard links, such as a memory card
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(source, target)
        return
    os.unlink(source)
