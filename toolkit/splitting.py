"""Class folders, or an archive of them -> `DIR/train/<class>/…`, `DIR/validation/<class>/…` and `DIR/split.csv`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import cv2

from toolkit.errors import InputError, UsageError
from toolkit.examine import Examined, available_cpus, examine, parallel_map
from toolkit.placing import Mode, is_placed, place
from toolkit.preprocess import MAX_PIXELS
from toolkit.progress import SILENT, Progress
from toolkit.scan import printable
from toolkit.sources import PARTS, Source, open_source
from toolkit.split_plan import parse_ratio, subsets
from toolkit.split_table import STATE, TABLE, Row, State, read_rows, read_state, write_rows, write_state


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """How to split.

    Attributes:
        ratio: the parts of train and validation, or of train, validation and test; see `split_plan.parse_ratio`.
        seed: another seed, another split.
        out: the folder to make; None is `<source name>-split` in the working directory.
        force: replace an earlier split in `out`.
        max_pixels: larger pictures are left out.
        workers: threads; None is one per processor.
    """

    ratio: tuple[Decimal, ...] = field(default_factory=lambda: parse_ratio("0.9"))
    seed: int = 0
    out: Path | None = None
    force: bool = False
    max_pixels: int = MAX_PIXELS
    workers: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the outcome, in plain types for `split.json`."""
        return {"ratio": [str(part) for part in self.ratio], "seed": self.seed, "max_pixels": self.max_pixels}


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitResult:
    """A split.

    Attributes:
        out: its folder.
        rows: one per source file, sorted by path: what `split.csv` holds.
        done: False where everything was there already and nothing was done.
    """

    out: Path
    rows: list[Row]
    done: bool

    def counts(self) -> dict[str, dict[str, int]]:
        """Class -> subset -> number of pictures."""
        counted = Counter((row.label, row.subset) for row in self.rows if row.subset)
        labels = sorted({row.label for row in self.rows} - {""})
        used = [name for name in ("train", "validation", "test") if any(subset == name for _, subset in counted)]
        return {label: {subset: counted[label, subset] for subset in used} for label in labels}

    @property
    def left_out(self) -> list[Row]:
        """The files that are in no subset, each with its reason."""
        return [row for row in self.rows if not row.subset]

    @property
    def flagged(self) -> list[Row]:
        """The files that are kept although something is odd about them."""
        return [row for row in self.rows if row.subset and row.note]


def split(source: Path, options: SplitOptions | None = None, progress: Progress = SILENT) -> SplitResult:
    """Split class folders, or an archive of them, into training and validation pictures.

    Every file is read, hashed and decoded first; files that are no readable picture are left out and named. The same
    pictures give the same split, whatever they are called. Nothing in `source` is changed.

    Args:
        source: a folder with one folder per class, or a .zip, .tar, .tar.gz or .tgz of one.
        options: how; the default takes nine of ten for training.
        progress: receives two stages, reading and placing.

    Raises:
        InputError: `source` is missing, empty, damaged or split already; or the folder to make holds something else.
        UsageError: the folder to make lies within the source.
    """
    options = options or SplitOptions()
    opened = open_source(source)
    _refuse_parts(opened)
    out = options.out or Path(f"{opened.name}-split")
    _refuse_overlap(opened, out)
    state = State(
        complete=True,
        source=os.path.abspath(source),
        fingerprint=opened.fingerprint(),
        settings=options.settings(),
    )
    before = read_state(out)
    if before == state and (kept := _intact(out)) is not None:
        return SplitResult(out=out, rows=kept, done=False)
    rows = _plan(opened, options, progress)
    _refuse_other(out, before, state, rows, options)
    _apply(opened, out, rows, replace(state, complete=False), progress)
    write_rows(out / TABLE, rows)
    write_state(out, state)
    return SplitResult(out=out, rows=rows, done=True)


def _plan(source: Source, options: SplitOptions, progress: Progress) -> list[Row]:
    """The row of every file, by the stable rule."""
    examined = _examine_all(source, options, progress)
    if not any(e.header for e in examined):
        raise InputError(
            f"{printable(str(source.path))}: {len(examined):,} files, but not one readable picture in a class folder",
            hint=f"look at them with: toolkit check {printable(str(source.path))}",
        )
    rows = [_row(e) for e in examined]
    for label in source.labels:
        places = [i for i, e in enumerate(examined) if e.header and e.file.label == label]
        chosen = subsets([examined[i].digest for i in places], options.ratio, options.seed)
        for i, subset in zip(places, chosen, strict=True):
            rows[i] = replace(rows[i], subset=subset, target=_target(subset, label, rows[i].path))
    return rows


def _examine_all(source: Source, options: SplitOptions, progress: Progress) -> list[Examined]:
    cv2.setNumThreads(1)
    readable = [file for file in source.files if file.problem is None]
    examined = {file.name: Examined(file, problem=file.problem) for file in source.files}
    progress.start("reading", len(readable))
    results = parallel_map(
        lambda file, load: examine(file, load, max_pixels=options.max_pixels),
        source.loads(readable),
        options.workers or available_cpus(),
    )
    for result in results:
        examined[result.file.name] = result
        progress.advance()
    progress.finish()
    return [examined[file.name] for file in source.files]


def _row(examined: Examined) -> Row:
    problem = examined.problem
    return Row(
        path=examined.file.name,
        label=examined.file.label,
        reason=problem.kind if problem else "",
        note=problem.text if problem else examined.flag,
        sha256=examined.digest,
    )


def _target(subset: str, label: str, path: str) -> str:
    return f"{subset}/{label}/{path.partition('/')[2]}"


def _apply(source: Source, out: Path, rows: list[Row], state: State, progress: Progress) -> None:
    write_state(out, state)
    targets = {row.path: row.target for row in rows if row.target}
    for folder in sorted({os.path.dirname(target) for target in targets.values()}):
        (out / folder).mkdir(parents=True, exist_ok=True)
    wanted = [
        file
        for file in source.files
        if file.name in targets and not is_placed(file, _origin(source, file.name), out / targets[file.name], Mode.COPY)
    ]
    progress.start("placing", len(wanted))
    for file, load in source.loads(wanted):
        place(file, _origin(source, file.name), load, out / targets[file.name], Mode.COPY)
        progress.advance()
    progress.finish()


def _origin(source: Source, name: str) -> Path | None:
    return source.root / name if source.root is not None else None


def _intact(out: Path) -> list[Row] | None:
    """The rows of the split in `out`, or None where a file of it is missing."""
    if not (out / TABLE).is_file():
        return None
    rows = read_rows(out / TABLE)
    return rows if all(os.path.lexists(out / row.target) for row in rows if row.target) else None


def _refuse_parts(source: Source) -> None:
    if all(label.lower() in PARTS for label in source.labels):
        raise InputError(
            f"{printable(str(source.path))}: holds {', '.join(source.labels)}: this is split already",
            hint=f"train on it as it is, or split one part: toolkit split {printable(str(source.path))}/"
            f"{source.labels[0]}",
        )


def _refuse_overlap(source: Source, out: Path) -> None:
    if source.root is None:
        return
    inner, outer = os.path.realpath(out), os.path.realpath(source.path)
    if inner == outer or inner.startswith(outer + os.sep) or outer.startswith(inner + os.sep):
        raise UsageError(
            f"{printable(str(out))}: the split would lie within {printable(str(source.path))}, or around it",
            hint="choose another place with --out",
        )


def _refuse_other(out: Path, before: State | None, state: State, rows: list[Row], options: SplitOptions) -> None:
    """Raise where `out` holds anything but an unfinished run of this very split."""
    if before is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(
                f"{printable(str(out))}: expected a new or an empty folder, found something that is no split",
                hint="choose another folder with --out",
            )
        return
    same = before.settings == state.settings and before.source == state.source
    if same and (not before.complete or ((out / TABLE).is_file() and read_rows(out / TABLE) == rows)):
        return
    if not options.force:
        raise InputError(
            f"{printable(str(out))}: holds another split (of {before.source}, {before.settings})",
            hint="choose another folder with --out, or replace it with --force",
        )
    _remove(out)


def _remove(out: Path) -> None:
    """Remove what an earlier split placed, and nothing else."""
    for row in read_rows(out / TABLE):
        if row.target:
            (out / row.target).unlink(missing_ok=True)
    (out / TABLE).unlink()
    (out / STATE).unlink()
