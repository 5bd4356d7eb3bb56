"""The folder of a split: what an earlier run left there, and a plan carried out so that a crash can be completed.

The order is what makes it safe: the plan is written, then the state says "incomplete", then files are placed, each
whole or not at all, then `split.csv` appears, then the state says "complete". The next run finds the plan and goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, MachineError
from toolkit.core.files import file_digest, naming
from toolkit.core.locking import lock
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.class_source import Load, Source, SourceFile
from toolkit.data.probe import parallel_map
from toolkit.data.split_tree import STATE, TABLE
from toolkit.splitting.mode import Mode
from toolkit.splitting.table import (
    PLAN,
    SplitRow,
    State,
    read_rows,
    read_state,
    unprintable,
    write_rows,
    write_state,
)

LOCK: Final = ".split.lock"
_PLACING: Final = ".placing-"
"""Names of files that are on their way to their place begin so."""


@dataclass(frozen=True, slots=True)
class EarlierSplit:
    """What an earlier run left in the folder.

    Attributes:
        state: its settings, and whether it finished.
        rows: the split that was complete last; empty where none ever was.
        planned: the rows of the run that did not finish, else empty.
    """

    state: State
    rows: list[SplitRow]
    planned: list[SplitRow]

    @property
    def moving(self) -> bool:
        """Whether it was stopped while it moved originals; what it moved is known to its plan alone."""
        return not self.state.complete and self.state.settings["mode"] == Mode.MOVE

    @property
    def placed_none(self) -> bool:
        """Whether it is a table alone."""
        return bool(self.state.settings["mode"] == Mode.NONE)

    @property
    def targets(self) -> set[str]:
        """Every file that it placed or may have placed."""
        if self.placed_none:
            return set()
        return {row.target for row in (*self.rows, *self.planned) if row.target}

    def missing(self, out: Path) -> list[SplitRow]:
        """The rows whose file has gone from the split."""
        if self.placed_none:
            return []
        return [row for row in self.rows if row.target and not os.path.lexists(os.path.join(out, row.target))]


def read_earlier(out: Path) -> EarlierSplit | None:
    """What an earlier run left in `out`; None for a folder that is new, empty, or that a crash left without a plan.

    Raises:
        InputError: `out` holds something that is not a split.
    """
    state = read_state(out)
    if state is None:
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {LOCK, PLAN} - _strays(out)):
            raise InputError(
                f"{printable(str(out))}: expected a new or an empty folder, found something that is not a split",
                hint="choose another folder with --out",
            )
        return None
    rows = read_rows(out / TABLE) if (out / TABLE).exists() else []
    if not state.complete and rows and not (out / PLAN).exists():
        state = replace(state, complete=True)  # killed between the two steps of `_complete`: every file is in its place
    planned = read_rows(out / PLAN) if (out / PLAN).exists() else []
    return EarlierSplit(state, rows, planned)


@contextmanager
def hold(out: Path) -> Iterator[None]:
    """Keep other runs off `out`, which is made where it is missing and taken away again if it stays empty.

    Raises:
        LockedError: another run holds it.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{printable(str(out))}: expected a folder, found a file", hint="choose another with --out")
    made = not out.exists()
    try:
        with lock(out, out / LOCK):
            for stray in _strays(out):
                (out / stray).unlink(missing_ok=True)
            yield
    finally:
        if made:
            with suppress(OSError):  # it holds something
                out.rmdir()


def _strays(out: Path) -> set[str]:
    """What `atomic_write` leaves of the plan and the state when the run is killed meanwhile."""
    return {path.name for name in (PLAN, STATE) for path in out.glob(f".{name}.*.tmp{Path(name).suffix}")}


def apply(
    source: Source, out: Path, rows: list[SplitRow], state: State, old: EarlierSplit | None, progress: Progress
) -> int:
    """Carry out a plan and return how many files were placed; what is in its place already is left as it is."""
    mode = Mode(state.settings["mode"])
    start = os.path.join(out, "")
    targets = {row.path: start + row.target for row in rows if row.target}
    files = [file for file in source.files if file.name in targets and mode is not Mode.NONE]
    if old:
        files = [file for file in files if not is_placed(file, source.origin(file), targets[file.name], mode)]
    wanted = {row.target for row in rows} if mode is not Mode.NONE else set()
    stale = old.targets - wanted if old and not old.state.originals else set()
    write_rows(out / PLAN, rows)
    write_state(out, replace(state, complete=False))
    _remove(out, stale)
    if old and not old.state.complete:
        for path in out.rglob(f"{_PLACING}*"):
            path.unlink(missing_ok=True)
    for folder in {targets[file.name].rpartition("/")[0] for file in files}:
        os.makedirs(folder, exist_ok=True)
    progress.start("placing", len(files))
    try:
        for _ in _place_all(source, files, targets, mode):
            progress.advance()
    finally:
        progress.finish()
    _complete(out, state)
    return len(files)


def _place_all(source: Source, files: list[SourceFile], targets: dict[str, str], mode: Mode) -> Iterator[None]:
    if mode is Mode.COPY:
        yield from parallel_map(lambda file, load: copy(file, load, targets[file.name]), source.loads(files))
        return
    for file in files:  # threads would only wait for each other: the system changes a folder for one at a time
        place(source.origin(file), targets[file.name], mode)
        yield


def finish_move(out: Path, earlier: EarlierSplit, progress: Progress) -> list[SplitRow]:
    """Move what an interrupted `--mode move` had not moved yet, by its own plan, and return the plan's rows."""
    todo = [row for row in earlier.planned if row.target]
    progress.start("placing", len(todo))
    for row in todo:
        origin = _unprinted(earlier.state.source, row.path)
        target = os.path.join(out, row.target)
        if os.path.lexists(origin) and os.path.lexists(target) and file_digest(origin) != row.sha256:
            progress.warn(f"{printable(origin)}: came after its namesake had been moved; it is left there")
        elif os.path.lexists(origin):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _move(origin, target)
        elif not os.path.lexists(target):
            progress.warn(f"{printable(origin)}: neither in the source nor in the split any more")
        progress.advance()
    progress.finish()
    _complete(out, replace(earlier.state, complete=True))
    return earlier.planned


def _complete(out: Path, state: State) -> None:
    os.replace(out / PLAN, out / TABLE)
    write_state(out, state)


def _unprinted(root: str, name: str) -> str:
    raw = os.path.join(root, name)
    if os.path.lexists(raw) or "\\x" not in name:
        return raw
    return os.path.join(root, unprintable(name))


def _remove(out: Path, targets: set[str]) -> None:
    """Remove files that an earlier run placed, and the folders that become empty; nothing else."""
    folders: set[Path] = set()
    for target in targets:
        (out / target).unlink(missing_ok=True)
        folders.update(parent for parent in Path(target).parents if parent != Path("."))
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):
            (out / folder).rmdir()


def is_placed(file: SourceFile, origin: str, target: str, mode: Mode) -> bool:
    """Whether `target` is already what `place` or `copy` would make of `file`."""
    try:
        if mode is Mode.SYMLINK:
            return os.readlink(target) == origin
        found = os.lstat(target)
        if mode is Mode.HARDLINK:
            return os.path.samestat(found, os.stat(origin))
    except OSError:
        return False
    if mode is Mode.MOVE or _is_hard_link(origin, target):
        return False
    return (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)


def copy(file: SourceFile, load: Load, target: str) -> None:
    """Bring the bytes and the time of one file to `target`, whole or not at all; an older file there is replaced."""
    with _whole(target) as temporary:
        with open(temporary, "wb") as opened:  # noqa: PTH123 - as fast as it gets
            opened.write(load())
        os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))


@contextmanager
def _whole(target: str) -> Iterator[str]:
    """Yield a name beside `target` for a file that becomes it, and replaces an older one, if the block ends well."""
    temporary = _temporary(target)
    try:
        with naming(target):
            yield temporary
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def place(origin: str, target: str, mode: Mode) -> None:
    """Link one file to `target`, or move it there; an older file there is replaced.

    Raises:
        MachineError: a hard link to another disk.
    """
    if mode is Mode.MOVE:
        _move(origin, target)
        return
    link = os.symlink if mode is Mode.SYMLINK else _hard_link
    with naming(target):
        try:
            link(origin, target)
        except FileExistsError:
            os.unlink(target)
            link(origin, target)


def _temporary(target: str) -> str:
    """Beside `target`, of a fixed length, and the same in the run that continues after a crash, which replaces it."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{_PLACING}{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}")


def _hard_link(origin: str, target: str) -> None:
    try:
        os.link(os.path.realpath(origin) if os.path.islink(origin) else origin, target)
    except FileExistsError:
        raise
    except OSError as error:
        raise MachineError(
            f"{printable(target)}: no hard link to {printable(origin)} can be made ({error.strerror})",
            hint="hard links need one disk that knows them; use --mode copy or --mode symlink",
        ) from None


def _is_hard_link(origin: str, target: str) -> bool:
    """Whether the two are names of one file."""
    try:
        found = os.lstat(target)
        return found.st_nlink > 1 and os.path.samestat(found, os.stat(origin))
    except FileNotFoundError:
        return False


def _move(origin: str, target: str) -> None:
    """A rename; to another disk a copy that is whole before the original goes."""
    if _is_hard_link(origin, target):
        os.unlink(origin)  # a rename would leave both names
        return
    try:
        os.replace(origin, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with _whole(target) as temporary:
            shutil.copy2(origin, temporary)
        os.unlink(origin)
