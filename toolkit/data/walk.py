"""Folders and lists -> a stream of samples, in one deterministic order.

A directory is walked depth first, the names of each folder sorted by code point, so that the same files give the same
order on every file system. Only one folder's names are in memory at a time for each level of depth.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from toolkit.core.errors import InputError
from toolkit.core.text import printable
from toolkit.images.header import SNIFF_BYTES, SUFFIXES, sniff

IMAGE_SUFFIXES: Final = frozenset().union(*SUFFIXES.values())
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


def is_image_name(name: str) -> bool:
    """Whether the suffix of `name`, in any case, is one of `IMAGE_SUFFIXES`."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_image(path: str) -> bool:
    """Whether the file at `path` is taken for an image: by its suffix, or by its first bytes whatever its suffix.

    What has no suffix and cannot be read is taken for one, so that it is named.
    """
    if is_image_name(path):
        return True
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            return sniff(os.read(handle, SNIFF_BYTES)) is not None
        finally:
            os.close(handle)
    except OSError:
        return not os.path.splitext(path)[1]


Prune = Callable[[str, str], bool]
"""(place, name) of a folder -> whether it is left out with all below it; places have forward slashes."""


def walk(directory: str, *, hidden: bool = False, prune: Prune | None = None) -> Iterator[str]:
    """The place of every file below `directory`, with the system's separator, depth first, names sorted by code point.

    Links to files count as files; links to folders are followed unless they lead back to a folder on the way.

    Args:
        hidden: also files and folders whose names begin with a dot.
        prune: which folders to leave out.

    Raises:
        InputError: `directory` is missing, is no directory, or a folder may not be read.
    """
    if not os.path.isdir(directory):
        found = "a file" if os.path.exists(directory) else "nothing"
        raise InputError(
            f"{printable(directory)}: expected a directory, found {found}", hint="check the path, or list its parent"
        )
    yield from _walk(directory, "", hidden, prune, (os.path.realpath(directory),))


def _walk(root: str, inside: str, hidden: bool, prune: Prune | None, above: tuple[str, ...]) -> Iterator[str]:
    folder = os.path.join(root, inside) if inside else root
    names: list[str] = []
    folders: dict[str, bool] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if hidden or not entry.name.startswith("."):
                    names.append(entry.name)
                    if entry.is_dir():
                        folders[entry.name] = entry.is_symlink()
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: this folder cannot be read ({error.strerror})",
            hint="check that it is still there and that you may read it",
        ) from None
    names.sort()
    start = os.path.join(inside, "") if inside else ""
    for name in names:
        place = start + name
        if name not in folders:
            yield place
        elif prune is None or not prune(slashes(place), name):
            real = os.path.realpath(os.path.join(folder, name)) if folders[name] else os.path.join(above[-1], name)
            if real not in above:
                yield from _walk(root, place, hidden, prune, (*above, real))


def slashes(path: str) -> str:
    """`path` with forward slashes."""
    return path if os.sep == "/" else path.replace(os.sep, "/")


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
            hint="put the images of each class into a folder with the class's name",
        )
    return folders
