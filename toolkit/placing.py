"""Files placed into the folder of a split, each whole or not at all; what is there already is left as it is."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

from toolkit.sources import Load, SourceFile


class Mode(StrEnum):
    """How a picture comes into the split.

    copy: its bytes and times. hardlink: one file under two names (same disk). symlink: a pointer to the original.
    move: the original itself.
    """

    COPY = "copy"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    MOVE = "move"


def place(file: SourceFile, origin: Path | None, load: Load, target: Path, mode: Mode) -> None:
    """Bring one file to `target`, under a temporary name first.

    Args:
        file: the source file.
        origin: where it is; None in an archive, whose bytes `load` returns.
        load: reads its bytes.
        target: where it goes; an older file there is replaced.
        mode: how.
    """
    temporary = target.with_name(".placing")
    temporary.unlink(missing_ok=True)
    if origin is None:
        temporary.write_bytes(load())
        os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
    elif mode is Mode.COPY:
        shutil.copyfile(origin, temporary)
        os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
    elif mode is Mode.HARDLINK:
        os.link(os.path.realpath(origin), temporary)
    elif mode is Mode.SYMLINK:
        temporary.symlink_to(os.path.abspath(origin))
    else:
        shutil.move(origin, temporary)
    os.replace(temporary, target)


def is_placed(file: SourceFile, origin: Path | None, target: Path, mode: Mode) -> bool:
    """Whether `target` is already what `place` would make of `file`."""
    try:
        if mode is Mode.SYMLINK and origin is not None:
            return os.readlink(target) == os.path.abspath(origin)
        found = os.lstat(target)
        if mode is Mode.HARDLINK and origin is not None:
            return os.path.samestat(found, os.stat(origin))
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)
