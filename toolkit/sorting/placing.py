"""One file brought to a place where nothing is, whole or not at all."""

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
from toolkit.sorting.journal import JOURNAL, Placement
from toolkit.splitting.mode import Mode

STRAY: Final = ".sorting-"
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
        if mode is Mode.MOVE and is_another_copy(target, source):  # a run was killed just before the last step
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
                move(source, target)
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


def place_in(into: Path, target: str) -> str:
    """The path of a place that the journal names, which anybody may have edited.

    Raises:
        NotPlacedError: it is not a name in a label's folder, or that folder is a link to somewhere else.
    """
    folder, _, name = target.partition("/")
    for part in (folder, name):
        if part in ("", ".", "..") or os.path.basename(part) != part or os.path.splitdrive(part)[0]:
            raise NotPlacedError(f"{JOURNAL} names a place that no sort makes; nothing is touched there")
    parent = os.path.join(into, folder)
    if os.path.islink(parent) or os.path.dirname(os.path.realpath(parent)) != os.path.realpath(into):
        raise NotPlacedError(f"{printable(parent)} is a link to another folder; nothing is touched there")
    return os.path.join(parent, name)


def own_folders(into: Path, placements: Iterable[Placement]) -> set[str]:
    """The folders of labels in `into`, without those that are links."""
    folders = set()
    for placement in placements:
        with suppress(NotPlacedError):
            place_in(into, placement.target)
            folders.add(placement.folder)
    return folders


def remove_strays(into: Path, folders: Iterable[str]) -> None:
    """Remove what a killed run left half copied."""
    for folder in folders:
        for stray in (into / folder).glob(f"{STRAY}*"):
            stray.unlink(missing_ok=True)


def is_file(path: str) -> bool:
    """Whether a file lies at `path` itself, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_another_name(kept: str, gone: str) -> bool:
    """Whether the two are hard links to one file, so that it is still there when the name `gone` goes.

    One place that is reached in two ways, through a link or a folder that is one, has one name only.
    """
    if not (is_file(kept) and is_file(gone)) or os.path.realpath(kept) == os.path.realpath(gone):
        return False
    return os.path.samefile(kept, gone) and os.lstat(kept).st_nlink > 1


def is_another_copy(kept: str, gone: str) -> bool:
    """Whether the bytes of `gone` are still there, as those of the file `kept`, when the name `gone` goes."""
    try:
        if not (is_file(kept) and is_file(gone)) or os.path.samefile(kept, gone):
            return is_another_name(kept, gone)
        return os.path.getsize(kept) == os.path.getsize(gone) and file_digest(kept) == file_digest(gone)
    except OSError:
        return False


def _copy(source: str, target: str) -> None:
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f"{STRAY}{hashlib.sha256(os.fsencode(name)).hexdigest()[:24]}")
    try:
        shutil.copy2(source, temporary)
        _rename(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def move(source: str, target: str) -> None:
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
