"""SOURCE of `split` and `check`, a folder or an archive of class folders -> its files and their bytes.

Every file is there, the unusable ones too, each with its class or with the problem that keeps it out. The class is the
first folder of a file's place, in Unicode's composed form (NFC), so that a class unpacked on macOS has the same name.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from toolkit import archive
from toolkit.errors import InputError
from toolkit.scan import printable, walk

PARTS: Final = frozenset({"train", "training", "validation", "val", "valid", "test", "testing"})
"""Folders of these names, in any case, are the parts of a split, not classes."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file is left out, or what is odd about it.

    Attributes:
        kind: one word, the same for all files with this problem.
        text: a sentence for a person.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source.

    Attributes:
        name: its place among the class folders, forward slashes, as the system names it (undecodable bytes as
            surrogates); "../" leads to files above the class folders.
        label: its class, "" where it lies in none.
        size: bytes.
        mtime_ns: modification time in nanoseconds.
        problem: why it is not even read, or None.
        part: "train", "validation" or "test" where the source is split already (see `open_source`), else "".
    """

    name: str
    label: str
    size: int
    mtime_ns: int
    problem: Problem | None = None
    part: str = ""


Load = Callable[[], bytes]
"""Reads one file. Raises OSError or InputError where it cannot be read."""


@dataclass(frozen=True)
class Source:
    """An opened SOURCE.

    Attributes:
        path: as given.
        files: every file in it, sorted by name.
        root: the folder that holds the class folders; None for an archive.
    """

    path: Path
    files: list[SourceFile]
    root: Path | None
    _members: dict[str, archive.Member] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The name of the folder or, without its suffix, of the archive."""
        return archive.stem(self.path) if self.root is None else self.path.resolve().name

    @property
    def labels(self) -> list[str]:
        """The classes, sorted."""
        return sorted({file.label for file in self.files} - {""})

    def loads(self, files: Collection[SourceFile]) -> Iterator[tuple[SourceFile, Load]]:
        """`files` with the functions that read them: a folder's run in any thread, an archive's are read already."""
        if self.root is not None:
            for file in files:
                yield file, _Reader(os.path.join(self.root, file.name))
            return
        wanted = {self._members[file.name].index: file for file in files}
        for member, data in archive.contents(self.path, [self._members[file.name] for file in files]):
            yield wanted[member.index], _Loaded(data)

    def fingerprint(self) -> str:
        """A hash of all names, sizes and times: the same means that nothing has changed."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\0{file.size}\0{file.mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Reader:
    path: str

    def __call__(self) -> bytes:
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123 - twice as fast as Path.open
            return file.read()


@dataclass(frozen=True, slots=True)
class _Loaded:
    data: bytes | InputError

    def __call__(self) -> bytes:
        if isinstance(self.data, InputError):
            raise self.data
        return self.data


def open_source(path: Path) -> Source:
    """List a folder of class folders, or an archive of one. Nothing is read but names, sizes and times.

    A single folder around the class folders, as archives have it, is looked through.

    Raises:
        InputError: missing, neither a folder nor an archive, damaged, or without class folders.
    """
    if path.is_dir():
        listed = _folder_files(path)
        members: dict[str, archive.Member] = {}
    elif path.is_file() and archive.is_archive(path):
        found = archive.members(path)
        listed = [SourceFile(m.name, "", m.size, m.mtime_ns, _refused(m)) for m in found]
        members = {m.name: m for m in found}
    else:
        raise _no_source(path)
    above = _above_classes(file.name for file in listed)
    named = [(file, _place(file.name, above)) for file in listed]
    files = sorted((_classed(file, name) for file, name in named), key=lambda file: file.name)
    if not any(file.label for file in files):
        raise InputError(
            f"{printable(str(path))}: expected one folder per class in it, found none with a file",
            hint="put the pictures of each class into a folder with the class's name, such as PetImages/Cat",
        )
    root = None if members else path / above
    return Source(path, files, root, {name: members[file.name] for file, name in named if members})


def _no_source(path: Path) -> InputError:
    if path.exists():
        return InputError(
            f"{printable(str(path))}: expected a folder or an archive ({', '.join(archive.SUFFIXES)}), found a file",
            hint="give the folder that holds the class folders, or an archive of it",
        )
    return InputError(
        f"{printable(str(path))}: expected a folder or an archive of class folders, found nothing",
        hint="check the path; ls shows what is there",
    )


def _folder_files(path: Path) -> list[SourceFile]:
    start = len(os.path.join(str(path), ""))
    return [_folder_file(entry, entry.path[start:].replace(os.sep, "/")) for entry in walk(str(path), hidden=True)]


def _folder_file(entry: os.DirEntry[str], name: str) -> SourceFile:
    try:
        status = entry.stat()
    except OSError as error:
        kind = "a broken link" if entry.is_symlink() else f"cannot be looked at: {error.strerror}"
        return SourceFile(name, "", 0, 0, Problem("unreadable", kind))
    irregular = not stat.S_ISREG(status.st_mode)
    problem = Problem("not_a_file", "neither a file nor a folder (a pipe, a socket or a device)") if irregular else None
    return SourceFile(name, "", status.st_size, status.st_mtime_ns, problem)


def _refused(member: archive.Member) -> Problem | None:
    return Problem("refused", member.refusal) if member.refusal else None


def _above_classes(names: Iterable[str]) -> str:
    """The folder around the class folders: "", or for an archive of `PetImages/Cat/…`, "PetImages/".

    A lone folder is looked through only if two or more lie in it; otherwise it is itself the one class.
    """
    folders = [tuple(name.split("/")[:-1]) for name in names if not _hidden(name)]
    above: tuple[str, ...] = ()
    while True:
        depth = len(above)
        inside = {parts[depth] for parts in folders if parts[:depth] == above and len(parts) > depth}
        if len(inside) != 1:
            return "".join(f"{part}/" for part in above) if len(inside) > 1 else ""
        above = (*above, *inside)


def _place(name: str, above: str) -> str:
    return name[len(above) :] if name.startswith(above) else "../" * above.count("/") + name


def _classed(file: SourceFile, name: str) -> SourceFile:
    label, slash, _ = name.partition("/")
    if _hidden(name):
        return replace(
            file, name=name, problem=file.problem or Problem("hidden", "a hidden file, or in a hidden folder")
        )
    if not slash or label == "..":
        return replace(file, name=name, problem=file.problem or Problem("no_class", "lies in no class folder"))
    return replace(file, name=name, label=unicodedata.normalize("NFC", label))


def _hidden(name: str) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))
