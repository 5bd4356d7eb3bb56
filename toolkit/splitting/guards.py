"""What a split refuses: sources and folders that do not go together, files in the way, and a split without images."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from toolkit.core.errors import InputError, UsageError
from toolkit.core.progress import Progress
from toolkit.core.text import counted, printable
from toolkit.data.class_source import Source
from toolkit.data.remote.urls import is_remote, shown_input
from toolkit.splitting.mode import Mode
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.place import EarlierSplit
from toolkit.splitting.rows import SplitSample
from toolkit.splitting.table import SplitRow, State


def refuse_overwriting(out: Path, rows: list[SplitRow], earlier: EarlierSplit | None, mode: Mode) -> None:
    """Nothing that a split did not place is ever replaced, whoever put it there.

    Raises:
        InputError: a file is in the way.
    """
    if earlier is None or mode is Mode.NONE:
        return  # the folder is new or empty, or no file is placed
    placed = earlier.targets
    for row in rows:
        if row.target and row.target not in placed and os.path.lexists(os.path.join(out, row.target)):
            raise InputError(
                f"{printable(os.path.join(out, row.target))}: this file is in the way of {printable(row.path)}, and no "
                "split put it there; nothing was changed",
                hint="move it away, or into the source folder of its class, then run the same command again",
            )


def check_counts(source: Source, counts: dict[str, dict[str, int]], rows: list[SplitRow], progress: Progress) -> None:
    """A split without an image is an error; a class without one in a subset is worth a warning.

    Raises:
        InputError: no file is in any subset.
    """
    if not any(n for parts in counts.values() for n in parts.values()):
        reasons = Counter(row.reason for row in rows).most_common(3)
        raise InputError(
            f"{shown_input(source.path)}: not one image can be placed "
            f"({', '.join(f'{n:,} {reason}' for reason, n in reasons)})",
            hint="images must lie in a folder with the name of their class; toolkit check names what is wrong",
        )
    for label, parts in counts.items():
        empty = [subset for subset, n in parts.items() if not n]
        if empty and sum(parts.values()):
            progress.warn(
                f"class {printable(label)} has no image for {' and '.join(empty)}, but {sum(parts.values()):,} in all; "
                "add images to it, or leave the class out"
            )


def refuse_source(source: Source, options: SplitOptions) -> None:
    path = shown_input(source.path)
    if source.is_split:
        raise InputError(
            f"{path}: holds {', '.join(source.labels)}: this is split already",
            hint="train on it as it is, or split one subset: "
            f"toolkit split {shlex.quote(f'{path}/{source.labels[0]}')}",
        )
    if is_remote(source.root or "") and options.mode is not Mode.NONE:
        raise UsageError(
            f"--mode {options.mode}: {path} is in object storage, and nothing is copied from there",
            hint="--mode none writes split.csv, which says where each image belongs",
        )
    if source.root is None and options.mode not in (Mode.COPY, Mode.NONE):
        raise UsageError(
            f"--mode {options.mode}: {path} is an archive, whose members can only be copied",
            hint="leave --mode out, or unpack the archive and give the folder",
        )


def refuse_overlap(source: Path, out: Path) -> None:
    if not source.is_dir():
        return
    inner, outer = os.path.realpath(out), os.path.realpath(source)
    if inner == outer or inner.startswith(outer + os.sep) or outer.startswith(inner + os.sep):
        raise UsageError(
            f"{printable(str(out))}: the split would lie within {printable(str(source))}, or around it",
            hint="choose another place with --out",
        )


def refuse_left_out(source: Source, rows: list[SplitRow]) -> None:
    left_out = [row for row in rows if not row.subset]
    if left_out:
        shown = "".join(f"\n  {printable(row.path)}: {row.note}" for row in left_out[:20])
        more = f"\n  and {len(left_out) - 20:,} more" if len(left_out) > 20 else ""
        raise InputError(
            f"{shown_input(source.path)}: {len(left_out):,} files would be left out under --strict:{shown}{more}",
            hint="remove or repair them, or leave --strict out",
        )


def refuse_replacing(
    out: Path, earlier: EarlierSplit, state: State, rows: list[SplitRow], options: SplitOptions
) -> None:
    """Raise unless the earlier split may go: with --force, or when it was never finished; never with originals."""
    before = earlier.state
    if before.originals:
        raise InputError(
            f"{printable(str(out))}: holds originals that --mode move brought there; they are never replaced",
            hint="choose another folder with --out, or add new files with --update",
        )
    if options.force or (not before.complete and not before.update):
        return
    changed = [name for name, value in state.settings.items() if before.settings.get(name) != value]
    if not before.complete:
        why = "an --update of it was interrupted; complete it with --update"
    elif changed:
        why = "with " + ", ".join(f"{name} {_shown(before.settings.get(name))}" for name in changed)
    elif before.source != state.source:
        why = f"of {printable(before.source)}"
    else:
        old, new = ({printable(row.path): printable(row.label) for row in found} for found in (earlier.rows, rows))
        relabelled = sum(old[path] != label for path, label in new.items() if path in old)
        why = (
            f"and its source has changed since ({len(new.keys() - old.keys()):,} files new, "
            f"{len(old.keys() - new.keys()):,} gone, {relabelled:,} with another label)"
        )
    raise InputError(
        f"{printable(str(out))}: holds another split, {why}",
        hint="choose another folder with --out, add what is new with --update, or replace it with --force",
    )


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def refuse_other_labels(samples: Iterable[SplitSample], gone: Iterable[SplitRow]) -> None:
    """Raise where a table gives an image that is placed already another label than it had, or none any more."""
    found = [(sample.earlier, sample.examined.file.label) for sample in samples if sample.earlier and sample.examined]
    unlabelled = {printable(s.examined.file.name) for s in samples if s.examined and not s.examined.file.label}
    found += [(row, "") for row in gone if printable(row.path) in unlabelled]
    changed = [(row, label) for row, label in found if printable(row.label) != printable(label)]
    if changed:
        (row, label), have = changed[0], "has" if len(changed) == 1 else "have"
        raise InputError(
            f"{counted(len(changed), 'image')} of this split {have} other labels now, "
            f"such as {printable(row.path)}: {printable(row.label)!r} in the split, "
            f"{repr(printable(label)) if label else 'no label'} in the table",
            hint="--update keeps files where they are; --force splits anew with the new labels",
        )
