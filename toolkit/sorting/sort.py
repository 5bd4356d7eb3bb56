"""A table of results -> a folder for each label, and back."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import remove_leftovers
from toolkit.core.locking import lock
from toolkit.core.ownership import claim_folder
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.inference.saved_results import SavedResults, SavedRow
from toolkit.sorting.journal import JOURNAL, Journal, Placement, read_journal, write_journal
from toolkit.sorting.placing import NotPlacedError, own_folders, place, place_in, remove_strays
from toolkit.sorting.plan import choose, place_names
from toolkit.sorting.taking_back import Step, plan_back, strangers, take_back
from toolkit.splitting.mode import Mode

SYNC_FILES: Final = 256
"""Lines of the journal that reach the disk together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SortOptions:
    """How to sort.

    Attributes:
        into: the folder to make.
        mode: how files come into it: copy, hardlink, symlink or move.
        min_confidence: below it a file goes to `unsure/`, 0..1.
        top: only so many of the most confident files of each label; None is all, with `unsure/` and `error/`.
        root: the folder that relative paths in the table start from.
        dry_run: plan only; write nothing.
    """

    into: Path
    mode: Mode = Mode.COPY
    min_confidence: float = 0.0
    top: int | None = None
    root: Path = Path()
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: expected 0 to 1")
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top {self.top}: expected 1 or more")
        modes = [mode for mode in Mode if mode is not Mode.NONE]
        if self.mode not in modes:
            raise UsageError(f"--mode {self.mode}: expected {', '.join(modes)}")


@dataclass(kw_only=True, slots=True)
class SortResult:
    """What was sorted.

    Attributes:
        into: the folder.
        folders: folder -> files in it after this run, as the table asks for.
        n_placed: files that this run placed.
        n_there: files that an earlier run had placed.
        missing: files of the table that are not there.
        failed: (file, reason) of those that could not be placed.
        dry_run: True where nothing was written.
    """

    into: Path
    folders: Counter[str] = field(default_factory=Counter)
    n_placed: int = 0
    n_there: int = 0
    missing: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    dry_run: bool = False


@dataclass(kw_only=True, slots=True)
class Undone:
    """What was taken back.

    Attributes:
        n_files: files taken back.
        folders: folder -> files taken back from it.
        kept: (file, reason) of those that are left where they are, and in the journal.
        missing: files that are not there any more, or were never placed; their originals are there.
        dry_run: True where nothing was written.
    """

    n_files: int = 0
    folders: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    dry_run: bool = False


def sort(table: Path, options: SortOptions, progress: Progress = SILENT) -> SortResult:
    """Bring the files of a result table into a folder for each label, `unsure/` and `error/` apart.

    Nothing is ever replaced. Every step is in the journal `sort.csv` of the folder before it is done, so that a run
    that was stopped is completed by the same call, and `undo` takes all back.

    Args:
        table: a result file of `toolkit infer`, or its folder of parts.
        options: where to and how.
        progress: is told how far it is.

    Raises:
        InputError: no such table; none of its files is there; or the folder holds something else.
        LockedError: another run is sorting into the same folder.
    """
    results = SavedResults(table, options.root)
    chosen = choose(results, options.min_confidence, options.top)
    with nullcontext() if options.dry_run else lock(options.into):  # before the journal is read
        return _sorted(table, results, chosen, options, progress)


def _sorted(
    table: Path,
    results: SavedResults,
    chosen: list[tuple[SavedRow, str]],
    options: SortOptions,
    progress: Progress,
) -> SortResult:
    earlier = _earlier(options.into)
    placements = place_names(chosen, results, options.mode, {placement.path: placement for placement in earlier})
    _refuse_other_sort(options.into, placements, earlier)
    result = SortResult(into=options.into, dry_run=options.dry_run)
    todo = _todo(placements, {placement.path for placement in earlier}, options.into, result)
    if not todo and not result.n_there:
        if placements:
            raise results.none_there(len(placements), placements[0].path)
        raise InputError(
            f"{printable(str(table))}: it has no row to sort",
            hint="leave --top out to place unsure files and errors, too",
        )
    if options.dry_run:
        result.folders.update(placement.folder for placement in todo)
        result.n_placed = len(todo)
        return result
    _carry_out(todo, earlier, options.into, result, progress)
    return result


def _earlier(into: Path) -> list[Placement]:
    """What earlier runs placed.

    Raises:
        InputError: the folder holds something that no sort put there.
    """
    remove_leftovers(into / JOURNAL)
    inside = os.listdir(into) if into.is_dir() else []
    claim_folder(into, inside, lambda folder: read_journal(folder) is not None, force=None, option="--into")
    return read_journal(into) or []


def _refuse_other_sort(into: Path, placements: list[Placement], earlier: list[Placement]) -> None:
    """One file in two folders would be a lie about one of them.

    Raises:
        InputError: an earlier sort put a file of the table into another folder, or was of another mode.
    """
    before = {placement.path: placement for placement in earlier}
    for new in placements:
        old = before.get(new.path)
        if old is not None and old is not new and os.path.lexists(into / old.target):
            was, now = (f"{p.folder}/ by {p.mode}" for p in (old, new))
            raise InputError(
                f"{printable(str(into))}: an earlier sort brought {printable(new.path)} into {printable(was)}; "
                f"now it would go into {printable(now)}",
                hint=f"toolkit sort --undo --into {printable(str(into))} takes the earlier one back",
            )


def _todo(placements: list[Placement], known: set[str], into: Path, result: SortResult) -> list[Placement]:
    """What is to be placed; what an earlier run placed, and what is missing, is counted in `result`."""
    todo = []
    for placement in placements:
        placed = placement.path in known and os.path.lexists(into / placement.target)
        missing = not os.path.lexists(placement.source)
        if placed and (missing or placement.mode != Mode.MOVE):
            result.n_there += 1
            result.folders[placement.folder] += 1
        elif missing:
            result.missing.append(placement.path)
        else:
            todo.append(placement)
    return todo


def _carry_out(
    todo: list[Placement], earlier: list[Placement], into: Path, result: SortResult, progress: Progress
) -> None:
    known = {(placement.path, placement.target) for placement in earlier}
    into.mkdir(parents=True, exist_ok=True)
    journal = Journal(into, earlier)  # first: by it the next run knows the folder
    progress.start("sorting", len(todo))
    try:
        for folder in {placement.folder for placement in todo}:
            (into / folder).mkdir(exist_ok=True)
        remove_strays(into, own_folders(into, earlier))
        for start in range(0, len(todo), SYNC_FILES):
            batch = todo[start : start + SYNC_FILES]
            journal.add(placement for placement in batch if (placement.path, placement.target) not in known)
            for placement in batch:
                try:
                    place(placement, place_in(into, placement.target))
                except NotPlacedError as error:
                    result.failed.append((placement.path, str(error)))
                else:
                    result.n_placed += 1
                    result.folders[placement.folder] += 1
                progress.advance()
    finally:
        progress.finish()
        journal.close()


def undo(into: Path, progress: Progress = SILENT, *, dry_run: bool = False) -> Undone:
    """Take back everything that `sort` did in the folder `into`; what was changed since is left and named.

    Args:
        into: the folder.
        progress: is told how far it is.
        dry_run: plan only; write nothing.

    Raises:
        InputError: there is no journal in the folder.
        LockedError: another run is sorting into the same folder.
    """
    _journal(into)  # no lock is made where nothing was sorted
    result = Undone(dry_run=dry_run)
    with nullcontext() if dry_run else lock(into):
        placements = _journal(into)
        left = _take_all_back(placements, into, result, progress)
        if not dry_run:
            _clear(into, placements, left)
    return result


def _journal(into: Path) -> list[Placement]:
    placements = read_journal(into)
    if placements is None:
        raise InputError(
            f"{printable(str(into))}: expected a folder that toolkit sort made, found no {JOURNAL}",
            hint="give the folder of the sort with --into",
        )
    return placements


def _take_all_back(placements: list[Placement], into: Path, result: Undone, progress: Progress) -> list[Placement]:
    """Those that are left."""
    left: list[Placement] = []
    any_missing = not all(os.path.lexists(into / placement.target) for placement in placements)
    moved = strangers(into, placements) if any_missing else {}
    progress.start("taking back", len(placements))
    try:
        for placement in reversed(placements):
            try:
                step = plan_back(placement, into, moved)
                if not result.dry_run:
                    take_back(placement, into, step)
            except (NotPlacedError, OSError) as error:
                left.append(placement)
                result.kept.append((str(into / placement.target), _reason(error)))
            else:
                if step is Step.NONE:
                    result.missing.append(str(into / placement.target))
                else:
                    result.n_files += 1
                    result.folders[placement.folder] += 1
            progress.advance()
    finally:
        progress.finish()
    return left[::-1]


def _clear(into: Path, placements: list[Placement], left: list[Placement]) -> None:
    """Remove what is empty, and the journal if nothing is left."""
    folders = own_folders(into, placements)
    remove_strays(into, folders)
    for folder in folders:
        with suppress(OSError):  # something else lies in it
            (into / folder).rmdir()
    if left:
        write_journal(into, left)
        return
    (into / JOURNAL).unlink()
    with suppress(OSError):
        into.rmdir()


def _reason(error: NotPlacedError | OSError) -> str:
    return f"{error.strerror}; it is left there" if isinstance(error, OSError) else str(error)
