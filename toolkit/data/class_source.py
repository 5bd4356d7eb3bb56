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
from functools import partial
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.progress import SILENT, Progress
from toolkit.data import archive
from toolkit.data.label_table import TABLE_HINT, Labels, LabelTables, find_labels, is_table
from toolkit.data.read import read, read_file
from toolkit.data.remote.urls import BUCKETS, is_remote, remote_url, shown_input
from toolkit.data.split_tree import subset_of
from toolkit.data.unpack import unpacked_folder
from toolkit.data.walk import (
    FOLDERS_HINT,
    Sample,
    is_hidden,
    is_image,
    is_image_name,
    is_unreadable_folder,
    may_be_image,
    no_class_folders,
    slashes,
    walk,
)

NO_CLASS: Final = "no_class"
"""The kind of problem of an image that lies in no class folder, or that no table gives a label."""


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
        label: its class, "" where it is in none.
        size: bytes.
        mtime_ns: modification time in nanoseconds.
        problem: why it is not even read, or None.
        subset: "train", "validation" or "test" where the source is split already (see `open_source`), else "".
        within: its place within its class, where that is not the name without its first folder.
    """

    name: str
    label: str
    size: int
    mtime_ns: int
    problem: Problem | None = None
    subset: str = ""
    within: str = ""


Load = Callable[[], bytes]
"""Reads one file. Raises OSError or InputError where it cannot be read."""


@dataclass(frozen=True)
class Source:
    """An opened SOURCE.

    Attributes:
        path: as given.
        files: every file in it, sorted by name.
        root: the folder that holds the class folders, absolute; None for an archive.
        table: the labels where a table gives them, None where the folders do.
    """

    path: Path
    files: list[SourceFile]
    root: str | None
    _members: dict[str, archive.Member] = field(default_factory=dict, repr=False)
    table: Labels | None = None

    @property
    def empty(self) -> list[str]:
        """Class folders, or the subsets of a split, without a file; none where a table gives the classes."""
        if self.root is None or self.table is not None or is_remote(self.root):
            return []
        full = {unicodedata.normalize("NFC", file.name.split("/")[0]) for file in self.files if file.label}
        with os.scandir(self.root) as entries:
            names = [unicodedata.normalize("NFC", e.name) for e in entries if e.is_dir() and not is_hidden(e.name)]
        return sorted(set(names) - full)

    @property
    def name(self) -> str:
        """The name of the folder or, without its suffix, of the archive."""
        if self.root is None:
            return archive.stem(self.path)
        return self.root.rpartition("/")[2] if is_remote(self.root) else self.path.resolve().name

    @property
    def labels(self) -> list[str]:
        """The classes, sorted."""
        return sorted({file.label for file in self.files} - {""})

    @property
    def loose(self) -> list[str]:
        """Images in no class folder, or without a label in the table."""
        return [file.name for file in self.files if file.problem is not None and file.problem.kind == NO_CLASS]

    @property
    def is_split(self) -> bool:
        """Whether its folders are the subsets of a split, not classes."""
        return self.table is None and all(map(subset_of, self.labels))

    def origin(self, file: SourceFile) -> str:
        """Where a file of a folder is; of an archive, its place in it."""
        return file.name if self.root is None else f"{self.root}/{file.name}"

    def unpacked(self, cache_dir: Path, progress: Progress = SILENT) -> Callable[[SourceFile], str]:
        """Where each file of an archive lies once it is unpacked in the cache.

        Raises:
            InputError: the archive is damaged.
            MachineError: the cache cannot be written.
        """
        folder = unpacked_folder(self.path, cache_dir, progress)
        return lambda file: os.path.join(folder, self._members[file.name].name)

    def loads(self, files: Collection[SourceFile]) -> Iterator[tuple[SourceFile, Load]]:
        """`files` with the functions that read them: a folder's run in any thread, an archive's are read already."""
        if self.root is not None and is_remote(self.root):
            from toolkit.data.remote.ahead import loads

            samples = (Sample(self.origin(file), "", file.size, file.mtime_ns) for file in files)
            yield from zip(files, loads(samples), strict=True)
            return
        if self.root is not None:
            for file in files:
                yield file, partial(_read, Sample(self.origin(file), "", file.size, file.mtime_ns))
            return
        wanted = {self._members[file.name].index: file for file in files}
        for member, data in archive.contents(self.path, [self._members[file.name] for file in files]):
            yield wanted[member.index], partial(_unpacked, data)

    def fingerprint(self) -> str:
        """A hash of all names, sizes and times: the same means that nothing has changed."""
        digest = hashlib.sha256()
        for file in self.files:
            label = f"\0{file.label}" if self.table else ""
            digest.update(f"{file.name}\0{file.size}\0{file.mtime_ns}{label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _read(sample: Sample) -> bytes:
    return read(sample)[1]


def _unpacked(data: bytes | InputError) -> bytes:
    if isinstance(data, InputError):
        raise data
    return data


def open_source(path: Path, labels: LabelTables | None = None, *, remote: bool = False) -> Source:
    """List a folder of class folders, or an archive of one. Nothing is read but names, sizes and times.

    A single folder around the class folders, as archives have it, is looked through.

    Args:
        labels: the tables that give the classes; None: the folders do, or a `metadata.csv` among them.
        remote: `path` may be the URL of a folder in object storage.

    Raises:
        UsageError: a URL where none may be.
        InputError: missing, neither a folder nor an archive, damaged, without class folders, or tables that name none
            of the files.
    """
    members: dict[str, archive.Member] = {}
    url = remote_url(path)
    if url is not None:
        if not remote or not url.startswith(BUCKETS):
            raise UsageError(
                f"{shown_input(url)}: expected a folder or an archive of this machine", hint="copy it here"
            )
        listed = _list_bucket(url)
    elif path.is_dir():
        listed = _list_folder(str(path))
    elif path.is_file() and archive.is_archive(path):
        members = {member.name: member for member in archive.members(path)}
        listed = [_listed_member(member) for member in members.values()]
    else:
        raise _no_source(path)
    above = _above_classes(file[0] for file in listed)
    read: Callable[[str], bytes] | None = partial(_member_bytes, path, members) if members else None
    if url is not None:
        url = url.rstrip("/")
        read = lambda name: read_file(f"{url}/{name}")  # noqa: E731
    table = find_labels(path, [file[0] for file in listed], labels, read)
    if table is not None:
        return _from_table(path, listed, table, labels, members, url)
    files = sorted((_classed(_place(file[0], above), *file[1:]) for file in listed), key=lambda file: file.name)
    if not any(file.label for file in files):
        raise _no_classes(path, files)
    root = None if members else os.path.abspath(path / above) if url is None else f"{url}/{above}".rstrip("/")
    return told_apart(Source(path, files, root, {_place(name, above): member for name, member in members.items()}))


def told_apart(source: Source) -> Source:
    """Of the files without a class, those that are no images are said to be that, as in a class folder."""
    return replace(source, files=[_told_apart(source, file) for file in source.files])


def _told_apart(source: Source, file: SourceFile) -> SourceFile:
    if file.problem is None or file.problem.kind != NO_CLASS:
        return file
    by_name = source.root is None or is_remote(source.root)  # in an archive or a bucket the name must do
    image = may_be_image(file.name) if by_name else is_image(source.origin(file))
    return file if image else replace(file, problem=Problem("not_an_image", "not an image, and in no class"))


def _member_bytes(path: Path, members: dict[str, archive.Member], name: str) -> bytes:
    """The bytes of one member of an archive; none where it cannot be unpacked."""
    wanted = [members[name]] if not members[name].refusal else []
    return b"".join(data for _, data in archive.contents(path, wanted) if isinstance(data, bytes))


def _from_table(
    path: Path,
    listed: list[_Listed],
    table: Labels,
    tables: LabelTables | None,
    members: dict[str, archive.Member],
    url: str | None,
) -> Source:
    """The source where a table says which class a file has; its folders mean nothing."""
    files = []
    for name, size, mtime_ns, trouble in sorted(listed, key=lambda file: file[0]):
        if name == table.inside or is_table(path, name, tables):
            continue
        problem = trouble or _hidden(name)
        if problem is None and (found := table.problem(name)) is not None:
            problem = Problem(*found)
        placeless = problem is not None and (problem is not trouble or problem.kind == "hidden")
        label = "" if placeless else table.by_place.get(name, "")
        first, _, rest = name.partition("/")
        within = rest if rest and unicodedata.normalize("NFC", first) == label else name
        files.append(SourceFile(name, label, size, mtime_ns, problem, within=within))
    if not any(file.label for file in files):
        raise InputError(
            f"{shown_input(path)}: {table.tables} gives none of its {len(files):,} files a label",
            hint="the paths in the table start from that folder; see --labels and --columns",
        )
    return told_apart(Source(path, files, url or (None if members else os.path.abspath(path)), members, table))


def _no_classes(path: Path, files: Collection[SourceFile]) -> InputError:
    images = path.is_dir() and any(is_image_name(file.name) for file in files)
    return no_class_folders(path, f"{FOLDERS_HINT}; or give {TABLE_HINT}", images=images)


def _no_source(path: Path) -> InputError:
    if path.exists():
        return InputError(
            f"{shown_input(path)}: expected a folder or an archive ({', '.join(archive.SUFFIXES)}), found a file",
            hint="give the folder that holds the class folders, or an archive of it",
        )
    return InputError(
        f"{shown_input(path)}: expected a folder or an archive of class folders, found nothing",
        hint="check the path; ls shows what is there",
    )


_Listed = tuple[str, int, int, Problem | None]
"""Name below SOURCE, bytes, modification time, and what is wrong with it."""


def _list_folder(path: str) -> list[_Listed]:
    start = os.path.join(path, "")
    return [_listed_file(start + place, slashes(place)) for place in walk(path, hidden=True)]


def _list_bucket(url: str) -> list[_Listed]:
    from toolkit.data.remote.listing import samples_at

    start = url.rstrip("/") + "/"
    return [(name := s.path.removeprefix(start), s.size, s.mtime_ns, _hidden(name)) for s in samples_at(start)]


def _listed_file(path: str, name: str) -> _Listed:
    hidden = _hidden(name)
    if is_unreadable_folder(path):
        text = "a folder that cannot be read, or a link that leads to itself"
        return name, 0, 0, hidden or Problem("unreadable_folder", text)
    try:
        status = os.stat(path)
    except OSError as error:
        kind = "a broken link" if os.path.islink(path) else f"cannot be looked at: {error.strerror}"
        return name, 0, 0, hidden or Problem("unreadable", kind)
    irregular = not stat.S_ISREG(status.st_mode)
    problem = Problem("not_a_file", "neither a file nor a folder (a pipe, a socket or a device)") if irregular else None
    return name, status.st_size, status.st_mtime_ns, hidden or problem


def _hidden(name: str) -> Problem | None:
    return Problem("hidden", "a hidden file, or in a hidden folder") if is_hidden(name) else None


def _listed_member(member: archive.Member) -> _Listed:
    problem = Problem("refused", member.refusal) if member.refusal else None
    return member.name, member.size, member.mtime_ns, problem


def _above_classes(names: Iterable[str]) -> str:
    """The folder around the class folders: "", or for an archive of `PetImages/Cat/…`, "PetImages/".

    A lone folder is looked through only if two or more lie in it; otherwise it is itself the one class.
    """
    folders = {name.rpartition("/")[0] for name in names if not is_hidden(name)}
    parted = [tuple(folder.split("/")) for folder in folders if folder]
    above: tuple[str, ...] = ()
    while True:
        depth = len(above)
        inside = {parts[depth] for parts in parted if parts[:depth] == above and len(parts) > depth}
        if len(inside) != 1:
            return "".join(f"{part}/" for part in above) if len(inside) > 1 else ""
        above = (*above, *inside)


def _place(name: str, above: str) -> str:
    return name[len(above) :] if name.startswith(above) else "../" * above.count("/") + name


def _classed(name: str, size: int, mtime_ns: int, problem: Problem | None) -> SourceFile:
    problem = problem or _too_long(name)
    label, slash, _ = name.partition("/")
    if is_hidden(name):
        label, problem = "", problem or _hidden(name)
    elif not slash or label == "..":
        label, problem = "", problem or Problem(NO_CLASS, "lies in no class folder")
    return SourceFile(name, unicodedata.normalize("NFC", label), size, mtime_ns, problem)


MAX_NAME_BYTES: Final = 1500
MAX_LEVELS: Final = 100
"""What lies deeper, or has a longer place, would not fit below the folder of a split everywhere."""
_SURELY_SHORT: Final = 63
"""So many characters are at most 252 bytes and 63 levels."""


def _too_long(name: str) -> Problem | None:
    if len(name) <= _SURELY_SHORT:
        return None
    levels, n_bytes = name.count("/"), len(os.fsencode(name))
    longest = max(len(os.fsencode(part)) for part in name.split("/"))
    if levels <= MAX_LEVELS and n_bytes <= MAX_NAME_BYTES and longest <= 255:
        return None
    what = f"{levels:,} folders deep" if levels > MAX_LEVELS else f"a place of {n_bytes:,} bytes"
    return Problem("refused", f"its name is too long for a file system ({what}, its longest name {longest:,} bytes)")
