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
from enum import StrEnum
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from toolkit.errors import InputError, LockedError, MachineError
from toolkit.examine import parallel_map
from toolkit.progress import Progress
from toolkit.scan import printable
from toolkit.sources import Load, Source, SourceFile
from toolkit.split_table import (
    PLAN,
    STATE,
    TABLE,
    Row,
    State,
    read_rows,
    read_state,
    unprintable,
    write_rows,
    write_state,
)

LOCK: Final = ".split.lock"


class Mode(StrEnum):
    """How a picture comes into the split.

    copy: its bytes and times. hardlink: one file under two names (same disk). symlink: a pointer to the original.
    move: the original itself.
    """

    COPY = "copy"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier run left in the folder.

    Attributes:
        state: its settings, and whether it finished.
        rows: the split that was complete last; empty where none ever was.
        planned: the rows of the run that did not finish, else empty.
    """

    state: State
    rows: list[Row]
    planned: list[Row]

    @property
    def targets(self) -> set[str]:
        """Every file that it placed or may have placed."""
        return {row.target for row in (*self.rows, *self.planned) if row.target}

    def missing(self, out: Path) -> list[Row]:
        """The rows whose file has gone from the split."""
        return [row for row in self.rows if row.target and not os.path.lexists(os.path.join(out, row.target))]


def read_earlier(out: Path) -> Earlier | None:
    """What an earlier run left in `out`; None for a folder that is new, empty, or that a crash left without a plan.

    Raises:
        InputError: `out` holds something that is no split.
    """
    state = read_state(out)
    if state is None:
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {LOCK, PLAN} - _strays(out)):
            raise InputError(
                f"{printable(str(out))}: expected a new or an empty folder, found something that is no split",
                hint="choose another folder with --out",
            )
        return None
    rows = read_rows(out / TABLE) if (out / TABLE).exists() else []
    planned = read_rows(out / PLAN) if (out / PLAN).exists() else []
    return Earlier(state, rows, planned)


@contextmanager
def hold(out: Path) -> Iterator[None]:
    """Keep other runs off `out`, which is made where it is missing and taken away again if it stays empty.

    Raises:
        LockedError: another run holds it.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{printable(str(out))}: expected a folder, found a file", hint="choose another with --out")
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / LOCK, timeout=0):
            for stray in _strays(out):
                (out / stray).unlink(missing_ok=True)
            yield
            (out / LOCK).unlink(missing_ok=True)
    except Timeout:
        raise LockedError(
            f"{printable(str(out))}: another run is splitting into this folder", hint="wait until it has finished"
        ) from None
    finally:
        if made and {path.name for path in out.iterdir()} <= {LOCK}:
            (out / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()


def _strays(out: Path) -> set[str]:
    """What `atomic_write` leaves of the plan and the state when the run is killed meanwhile."""
    return {path.name for name in (PLAN, STATE) for path in out.glob(f".{name}.*.tmp{Path(name).suffix}")}


def apply(source: Source, out: Path, rows: list[Row], state: State, old: Earlier | None, progress: Progress) -> int:
    """Carry out a plan and return how many files were placed; what is in its place already is left as it is."""
    mode = Mode(state.settings["mode"])
    targets = {row.path: row.target for row in rows if row.target}
    files = [file for file in source.files if file.name in targets]
    wanted = [f for f in files if not is_placed(f, _origin(source, f), os.path.join(out, targets[f.name]), mode)]
    stale = old.targets - {row.target for row in rows} if old and not old.state.originals else set()
    write_rows(out / PLAN, rows)
    write_state(out, replace(state, complete=False))
    _remove(out, stale)
    _make_folders(out, {targets[file.name] for file in wanted})
    progress.start("placing", len(wanted))
    try:
        for _ in parallel_map(
            lambda file, load: place(file, _origin(source, file), load, os.path.join(out, targets[file.name]), mode),
            source.loads(wanted),
        ):
            progress.advance()
    finally:
        progress.finish()
    _complete(out, state)
    return len(wanted)


def finish_move(out: Path, earlier: Earlier, progress: Progress) -> list[Row]:
    """Move what an interrupted `--mode move` had not moved yet, by its own plan, and return the plan's rows."""
    todo = [row for row in earlier.planned if row.target]
    _make_folders(out, {row.target for row in todo})
    progress.start("placing", len(todo))
    for row in todo:
        origin = _unprinted(earlier.state.source, row.path)
        target = os.path.join(out, row.target)
        if os.path.lexists(origin):
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


def _make_folders(out: Path, targets: set[str]) -> None:
    for folder in sorted({os.path.dirname(target) for target in targets}):
        (out / folder).mkdir(parents=True, exist_ok=True)


def _remove(out: Path, targets: set[str]) -> None:
    """Remove files that an earlier run placed, and the folders that become empty; nothing else."""
    folders: set[Path] = set()
    for target in targets:
        (out / target).unlink(missing_ok=True)
        folders.update(parent for parent in Path(target).parents if parent != Path("."))
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):
            (out / folder).rmdir()


def _origin(source: Source, file: SourceFile) -> str | None:
    return os.path.join(source.root, file.name) if source.root is not None else None


def is_placed(file: SourceFile, origin: str | None, target: str, mode: Mode) -> bool:
    """Whether `target` is already what `place` would make of `file`."""
    try:
        if origin is not None and mode is Mode.SYMLINK:
            return os.readlink(target) == os.path.abspath(origin)
        found = os.lstat(target)
        if origin is not None and mode is Mode.HARDLINK:
            return os.path.samestat(found, os.stat(origin))
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)


def place(file: SourceFile, origin: str | None, load: Load, target: str, mode: Mode) -> None:
    """Bring one file to `target`, whole or not at all; an older file there is replaced.

    Args:
        file: the source file.
        origin: where it is; None in an archive, whose bytes `load` returns.
        load: reads its bytes.
        target: where it goes; its folder exists.
        mode: how.

    Raises:
        MachineError: a hard link to another disk.
    """
    if origin is not None and mode is Mode.MOVE:
        _move(origin, target)
    elif origin is not None and mode is not Mode.COPY:
        with suppress(FileNotFoundError):
            os.unlink(target)
        _link(origin, target, mode)
    else:
        temporary = _temporary(target)
        if origin is None:
            Path(temporary).write_bytes(load())
        else:
            shutil.copyfile(origin, temporary)
        os.utime(temporary, ns=(file.mtime_ns, file.mtime_ns))
        os.replace(temporary, target)


def _temporary(target: str) -> str:
    """Beside `target`, of a fixed length, and the same in the run that goes on after a crash, which replaces it."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".placing-{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}")


def _link(origin: str, target: str, mode: Mode) -> None:
    if mode is Mode.SYMLINK:
        os.symlink(os.path.abspath(origin), target)
        return
    try:
        os.link(os.path.realpath(origin) if os.path.islink(origin) else origin, target)
    except OSError as error:
        raise MachineError(
            f"{printable(target)}: no hard link to {printable(origin)} can be made ({error.strerror})",
            hint="hard links need one disk that knows them; use --mode copy or --mode symlink",
        ) from None


def _move(origin: str, target: str) -> None:
    """A rename; to another disk a copy that is whole before the original goes."""
    try:
        os.replace(origin, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = _temporary(target)
        shutil.copy2(origin, temporary)
        os.replace(temporary, target)
        os.unlink(origin)
