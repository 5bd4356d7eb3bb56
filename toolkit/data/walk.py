"""Folders and lists -> a stream of samples, in one deterministic order.

A directory is walked depth first, the names of each folder sorted by code point, so that the same files give the same
order on every file system. Only one folder's names are in memory at a time for each level of depth.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from toolkit.core.errors import InputError
from toolkit.core.text import printable
from toolkit.images.header import SUFFIXES

PICTURE_SUFFIXES: Final = frozenset().union(*SUFFIXES.values())
"""Suffixes, in lower case, of the formats that the decoder reads."""


class Sample(NamedTuple):
    """One input file.

    Attributes:
        path: where the file is, as the operating system names it.
        name: how result files name it: the input as given joined with the place inside it, forward slashes.
        size: bytes, -1 where the file could not be looked at.
        mtime_ns: modification time in nanoseconds, 0 where the file could not be looked at.
    """

    path: str
    name: str
    size: int
    mtime_ns: int


def is_picture_name(name: str) -> bool:
    """Whether the suffix of `name`, in any case, is one of `PICTURE_SUFFIXES`."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES


def walk(directory: str, *, hidden: bool = False) -> Iterator[os.DirEntry[str]]:
    """Every file below `directory`, depth first, names sorted; hidden files and folders only with `hidden`.

    Links to files count as files; links to folders are followed unless they lead back to a folder on the way.

    Raises:
        InputError: `directory` is missing, is no directory, or may not be read.
    """
    if not os.path.isdir(directory):
        found = "a file" if os.path.exists(directory) else "nothing"
        raise InputError(
            f"{printable(directory)}: expected a directory, found {found}", hint="check the path, or list its parent"
        )
    yield from _walk(directory, (os.path.realpath(directory),), hidden)


def _walk(directory: str, above: tuple[str, ...], hidden: bool) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            ordered = sorted((e for e in entries if hidden or not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise InputError(
            f"{printable(directory)}: this folder cannot be read ({error.strerror})",
            hint="check that it is still there and that you may read it",
        ) from None
    for entry in ordered:
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if entry.is_symlink() and real in above:
                continue
            yield from _walk(entry.path, (*above, os.path.realpath(entry.path)), hidden)
        else:
            yield entry


def sample(path: str, name: str) -> Sample:
    """The sample of one file; a file that cannot be looked at is a sample all the same, and gets its row."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Sample(path=path, name=printable(name), size=-1, mtime_ns=0)
    if stat_module.S_ISDIR(status.st_mode):
        return Sample(path=path, name=printable(name), size=-1, mtime_ns=0)
    return Sample(path=path, name=printable(name), size=status.st_size, mtime_ns=status.st_mtime_ns)


def class_folders(root: Path) -> dict[str, Path]:
    """The class folders of `root`: class name -> folder, sorted by name.

    Raises:
        InputError: `root` is missing or holds no folders.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InputError(
            f"{printable(str(root))}: expected a folder with one folder per class, found {found}",
            hint="give the folder that holds the class folders, such as PetImages with Cat and Dog in it",
        )
    folders = {p.name: p for p in sorted(root.iterdir(), key=lambda p: p.name) if p.is_dir() and p.name[0] != "."}
    if not folders:
        raise InputError(
            f"{printable(str(root))}: expected one folder per class in it, found none",
            hint="put the pictures of each class into a folder with the class's name",
        )
    return folders
