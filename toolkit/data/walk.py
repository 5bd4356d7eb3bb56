"""Folders and lists -> a stream of samples, in one deterministic order.

A directory is walked depth first, the names of each folder sorted by code point, so that the same files give the same
order on every file system. Only one folder's names are in memory at a time for each level of depth.
"""

from __future__ import annotations

import os
import re
import shlex
import stat as stat_module
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from toolkit.core.errors import GateError, InputError
from toolkit.core.text import printable
from toolkit.data.remote.urls import is_remote, shown, shown_input
from toolkit.images.header import RAW_SUFFIXES, SNIFF_BYTES, SUFFIXES, sniff

IMAGE_SUFFIXES: Final = RAW_SUFFIXES.union(*SUFFIXES.values())
"""Suffixes, in lower case, of image files, of those too that no decoder reads (they get an error that says so)."""


class Detection(NamedTuple):
    """What a detector says of an image.

    Attributes:
        category: what it took it for, such as "animal"; "" where there is nothing to label.
        confidence: 0..1.
        box: left, top, width and height as shares of the upright image; None where it saw nothing that has a size and
            is sure enough.
        problem: why nothing is known; "" otherwise.
    """

    category: str = ""
    confidence: float = 0.0
    box: tuple[float, float, float, float] | None = None
    problem: str = ""


class Sample(NamedTuple):
    """One input: a file, or what a detector saw in it.

    Attributes:
        path: where the file is, as the operating system names it.
        name: how result files name it: the input as given joined with the place inside it, forward slashes.
        size: bytes, -1 where the file could not be looked at.
        mtime_ns: modification time in nanoseconds, 0 where the file could not be looked at.
        detection: the part of the image that is meant; None is all of it.
    """

    path: str
    name: str
    size: int
    mtime_ns: int
    detection: Detection | None = None


_HIDDEN: Final = re.compile(r"(?:^|/)(?:\.(?!\.?(?:/|\Z))|__MACOSX(?:/|\Z))")


def is_hidden(place: str) -> bool:
    """Whether no command takes the file at `place` (forward slashes) for an image of a folder: it is hidden.

    A part of the place begins with a dot, as `.DS_Store`, `._1.jpg` and all in `.cache` do, or is `__MACOSX`, which
    macOS packs beside the files.

    >>> is_hidden("Cat/._1.jpg"), is_hidden(".git/1.png"), is_hidden("../Cat/1.jpg")
    (True, True, False)
    """
    return _HIDDEN.search(place) is not None


def is_image_name(name: str) -> bool:
    """Whether the suffix of `name`, in any case, is one of `IMAGE_SUFFIXES`."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def may_be_image(name: str) -> bool:
    """Whether a file is taken for an image by its name alone, where no byte is read: by its suffix, or for want of one.

    >>> may_be_image("Cat/1.JPG"), may_be_image("Cat/1"), may_be_image("Cat/1.txt")
    (True, True, False)
    """
    return is_image_name(name) or not os.path.splitext(name)[1]


def is_image(path: str) -> bool:
    """Whether the file at `path` is taken for an image: by its suffix, or by its first bytes whatever its suffix.

    What has no suffix and cannot be read is taken for one, so that it is named.
    """
    if is_image_name(path) or is_unreadable_folder(path):
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

    Links to files count as files; links to folders are followed unless they lead back to a folder on the way. A folder
    that cannot be read, or a link that leads nowhere because it leads to itself, ends nothing: its place comes out as
    well, with a separator at its end (see `is_unreadable_folder`), and the walk goes on.

    Args:
        hidden: also what is hidden (see `is_hidden`); a hidden link, or one in a hidden folder, counts as a file, for
            it may lead anywhere.
        prune: which folders to leave out.

    Raises:
        InputError: `directory` is missing, is not a directory, or cannot be read.
    """
    if not os.path.isdir(directory):
        found = "a file" if os.path.exists(directory) else "nothing"
        raise InputError(
            f"{printable(directory)}: expected a directory, found {found}", hint="check the path, or list its parent"
        )
    try:
        listed = _listed(directory, hidden)
    except OSError as error:
        raise InputError(
            f"{printable(directory)}: this folder cannot be read ({error.strerror})",
            hint="check that it is still there and that you may read it",
        ) from None
    way = [_Folder("", os.path.realpath(directory), iter(listed))]
    while way:
        found_next = next(way[-1].entries, None)
        if found_next is None:
            way.pop()
            continue
        name, kind = found_next
        place = way[-1].start + name
        if kind is _Kind.FILE or (kind is _Kind.LINK and is_hidden(slashes(place))):
            yield place
        elif kind is _Kind.UNKNOWN:
            yield place + os.sep
        elif prune is None or not prune(slashes(place), name):
            path = os.path.join(directory, place)
            real = os.path.realpath(path) if kind is _Kind.LINK else os.path.join(way[-1].real, name)
            if any(folder.real == real for folder in way):
                continue
            try:
                inside = _listed(path, hidden)
            except OSError:
                yield place + os.sep
            else:
                way.append(_Folder(place + os.sep, real, iter(inside)))


class _Kind(Enum):
    FILE, FOLDER, LINK, UNKNOWN = range(4)


class _Folder(NamedTuple):
    """A folder on the way from the top to where the walk is."""

    start: str
    real: str
    entries: Iterator[tuple[str, _Kind]]


def _listed(folder: str, hidden: bool) -> list[tuple[str, _Kind]]:
    with os.scandir(folder) as entries:
        return sorted(
            ((entry.name, _kind(entry)) for entry in entries if hidden or not is_hidden(entry.name)),
            key=lambda entry: entry[0],
        )


def _kind(entry: os.DirEntry[str]) -> _Kind:
    try:
        if not entry.is_dir():
            return _Kind.FILE
        return _Kind.LINK if entry.is_symlink() else _Kind.FOLDER
    except OSError:  # a link to itself, or into a folder that may not be entered
        return _Kind.UNKNOWN


def is_unreadable_folder(path: str) -> bool:
    """Whether a place or path that came from `walk` stands for a folder that could not be read."""
    return path.endswith(os.sep) and not is_remote(path)


def require_read(names: Collection[str]) -> None:
    """End a command that did everything but for the folders among `names` (see `is_unreadable_folder`).

    Raises:
        GateError: there are such folders.
    """
    names = [name for name in names if name.endswith("/") or is_unreadable_folder(name)]
    if not names:
        return
    shown = ", ".join(printable(name) for name in sorted(names)[:5])
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    one = "one folder" if len(names) == 1 else f"{len(names):,} folders"
    raise GateError(
        f"{one} could not be read: {shown}{more}; everything else is done",
        hint="check who may read them, and links that lead to themselves; then run the same command again",
    )


def slashes(path: str) -> str:
    """`path` with forward slashes."""
    return path if os.sep == "/" else path.replace(os.sep, "/")


def sample(path: str, name: str) -> Sample:
    """The sample of one file or URL; a file that cannot be looked at is a sample all the same, and gets its row."""
    if is_remote(path):
        return Sample(path, shown(path), -1, 0)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Sample(path=path, name=printable(name), size=-1, mtime_ns=0)
    if stat_module.S_ISDIR(status.st_mode):
        return Sample(path=path, name=printable(name), size=-1, mtime_ns=0)
    return Sample(path=path, name=printable(name), size=status.st_size, mtime_ns=status.st_mtime_ns)


FOLDERS_HINT: Final = "put the images of each class into a folder with the class's name"


def class_folders(root: Path, hint: str = FOLDERS_HINT) -> dict[str, Path]:
    """The class folders of `root`: class name -> folder, sorted by name.

    Args:
        hint: what to do where there are none.

    Raises:
        InputError: `root` is missing or holds no folders.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InputError(
            f"{printable(str(root))}: expected a folder with one folder per class, found {found}",
            hint="give the folder that holds the class folders, such as PetImages with Cat and Dog in it",
        )
    inside = sorted((p for p in root.iterdir() if not is_hidden(p.name)), key=lambda p: p.name)
    folders = {p.name: p for p in inside if os.path.isdir(p)}
    if not folders:
        raise no_class_folders(root, hint, images=any(is_image_name(p.name) for p in inside))
    return folders


def no_class_folders(root: Path, hint: str, *, images: bool) -> InputError:
    """The error where a folder holds no class folders; `images`: whether it holds images, as a class folder does."""
    expected = f"{shown_input(root)}: expected one folder per class in it"
    if not images:
        return InputError(f"{expected}, found none", hint=hint)
    around = shlex.quote(printable(os.path.normpath(root / "..")))
    return InputError(
        f"{expected}, found images: is this one of the classes?",
        hint=f"if so, give the folder around it, {around}; if not, {hint}",
    )
