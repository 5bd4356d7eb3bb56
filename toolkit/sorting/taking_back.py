"""One file taken back from a sorted folder; never the last copy of anything."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum, auto
from pathlib import Path
from typing import Final

from toolkit.core.text import printable
from toolkit.sorting.journal import JOURNAL, Placement
from toolkit.sorting.placing import STRAY, NotPlacedError, is_another_copy, is_another_name, is_file, move, place_in
from toolkit.splitting.mode import Mode

CLOCK_NS: Final = 2_000_000_000
"""How exactly a memory card keeps times."""


class Step(Enum):
    """How one placement is undone: the file is removed, it is moved back, or there is nothing to do."""

    REMOVE = auto()
    MOVE = auto()
    NONE = auto()


Found = dict[tuple[int, int] | str, str]
"""Size and time of a file, or where a link leads -> its path."""


def strangers(into: Path, placements: Iterable[Placement]) -> Found:
    """What lies in `into` where no sort put it: a file that was moved there by hand is known by its size and time."""
    known = {placement.target for placement in placements} | {JOURNAL}
    found: Found = {}
    for folder, _, names in os.walk(into):
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(STRAY):
                continue
            if Path(path).relative_to(into).as_posix() not in known:
                found[os.readlink(path) if os.path.islink(path) else _state(path)] = path
    return found


def plan_back(placement: Placement, into: Path, moved: Found) -> Step:
    """How to undo one placement; nothing is changed.

    Raises:
        NotPlacedError: the file is not as it was placed, or it is the last copy; it is left.
    """
    target = place_in(into, placement.target)
    if not os.path.lexists(target):
        return _nothing_there(placement, moved)
    if placement.mode == Mode.SYMLINK:
        if not os.path.islink(target) or os.readlink(target) != placement.source:
            raise NotPlacedError("it is not the link that was made; it is left there")
        return Step.REMOVE
    if placement.mode == Mode.MOVE:
        return _move_back(placement, target)
    original = os.path.realpath(placement.source)  # which may always have been a link
    if not os.path.exists(original):
        raise NotPlacedError(f"{printable(placement.source)} is gone, so this may be the last copy; it is left there")
    if original == os.path.realpath(target):
        raise NotPlacedError(
            f"{printable(placement.source)} is a link to it, so this is the last copy; it is left there"
        )
    if placement.mode == Mode.HARDLINK:
        if not is_another_name(original, target):
            raise NotPlacedError("it is not the file that was linked; it is left there")
    elif not _unchanged(placement, target):
        raise NotPlacedError("it was changed since; it is left there")
    elif not is_another_copy(original, target):
        changed = f"{printable(placement.source)} was changed since"
        raise NotPlacedError(f"{changed}, so this may be the last copy; it is left there")
    return Step.REMOVE


def _move_back(placement: Placement, target: str) -> Step:
    if not _unchanged(placement, target):
        raise NotPlacedError("it was changed since; it is left there")
    if not os.path.lexists(placement.source):
        return Step.MOVE
    if is_file(placement.source) and is_another_copy(placement.source, target):
        return Step.REMOVE  # a run was killed just before the last step
    raise NotPlacedError(f"{printable(placement.source)} is there again; neither is touched")


def _nothing_there(placement: Placement, moved: Found) -> Step:
    """A run that was stopped had not placed it yet, or had taken it back; or somebody moved or deleted it."""
    link = placement.mode == Mode.SYMLINK
    now = moved.get(placement.source if link else (placement.size, placement.mtime_ns))
    if now is not None:
        raise NotPlacedError(f"it seems to be {printable(now)} now; it is left there")
    if not link and not os.path.lexists(placement.source):
        raise NotPlacedError(f"it is not there any more, and neither is {printable(placement.source)}")
    return Step.NONE


def take_back(placement: Placement, into: Path, step: Step) -> None:
    """Do what `plan_back` said."""
    target = place_in(into, placement.target)
    if step is Step.REMOVE:
        os.unlink(target)
    elif step is Step.MOVE:
        os.makedirs(os.path.dirname(placement.source), exist_ok=True)
        move(target, placement.source)


def _unchanged(placement: Placement, target: str) -> bool:
    if not is_file(target):
        return False
    size, mtime_ns = _state(target)
    return size == placement.size and abs(mtime_ns - placement.mtime_ns) <= CLOCK_NS


def _state(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_size, status.st_mtime_ns
