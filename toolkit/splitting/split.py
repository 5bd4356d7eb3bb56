"""Class folders, or an archive of them -> `DIR/train/<class>/…`, `DIR/validation/<class>/…` and `DIR/split.csv`."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit.core.coerce import coerce
from toolkit.core.errors import InputError, UsageError
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data import archive
from toolkit.data.class_source import Problem, Source, open_source
from toolkit.data.label_table import LabelTables
from toolkit.data.probe import Examination, Examined, examine_all
from toolkit.images.header import MAX_PIXELS
from toolkit.images.limits import Limits
from toolkit.splitting import rows as split_rows
from toolkit.splitting.place import Earlier, Mode, apply, finish_move, hold, read_earlier
from toolkit.splitting.plan import SUBSETS, Picture, borders, parse_ratio, plan
from toolkit.splitting.table import Row, State


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """How to split.

    Attributes:
        ratio: the parts of train and validation, or of train, validation and test; see `split_plan.parse_ratio`.
        seed: another seed, another split.
        out: the folder to make; None is `<source name>-split` in the working directory.
        mode: how pictures come into it: copy, hardlink, symlink or move.
        group_by: regular expression searched in each path; pictures for which its groups (or, without any, the whole
            match) are equal stay on one side.
        keep_duplicates: keep exact copies of one label, together on one side.
        near_duplicates: keep near copies on one side.
        update: add what is new to the split in `out`; nothing that it has assigned moves.
        force: replace the split in `out`.
        dry_run: plan only; write nothing.
        strict: raise where any file would be left out; write nothing.
        verify: decode every pixel; False trusts the headers.
        max_pixels: larger pictures are left out.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        workers: threads; None is one per processor.
        labels: tables that give the classes; None: the class folders, or a `metadata.csv` in the source.
    """

    ratio: tuple[Decimal, ...] = field(default_factory=lambda: parse_ratio("0.9"))
    seed: int = 0
    out: Path | None = None
    mode: Mode = Mode.COPY
    group_by: str | None = None
    keep_duplicates: bool = False
    near_duplicates: bool = False
    update: bool = False
    force: bool = False
    dry_run: bool = False
    strict: bool = False
    verify: bool = True
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None
    workers: int | None = None
    labels: LabelTables | None = None

    def __post_init__(self) -> None:
        coerce(self, mode=Mode, out=Path)
        if isinstance(self.ratio, (str, float, Decimal)):
            object.__setattr__(self, "ratio", parse_ratio(str(self.ratio)))
        if self.update and self.force:
            raise UsageError("--update keeps the earlier split and --force replaces it: give one of them")
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise UsageError(f"--group-by {self.group_by!r}: not a regular expression ({error})") from None

    def settings(self) -> dict[str, Any]:
        """What decides the outcome, in plain types for `split.json`."""
        names = ("seed", "mode", "group_by", "keep_duplicates", "near_duplicates", "verify", "max_pixels")
        return {"ratio": [str(part) for part in self.ratio], **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """A class whose part is not as large as the ratio says, because groups stay whole or a split was updated."""

    label: str
    subset: str
    count: int
    wanted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitResult:
    """A split.

    Attributes:
        out: its folder.
        rows: one per source file, sorted by path: what `split.csv` holds.
        outcome: "made", "updated", "completed" (an earlier run's work), "unchanged" or "planned" (a dry run).
        ratio: the parts asked for.
    """

    out: Path
    rows: list[Row]
    outcome: str
    ratio: tuple[Decimal, ...]

    @property
    def done(self) -> bool:
        """False where nothing was written."""
        return self.outcome not in ("unchanged", "planned")

    @property
    def subsets(self) -> tuple[str, ...]:
        """The names of the parts: train, validation, and test where the ratio has three."""
        return SUBSETS[: len(self.ratio)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Class -> subset -> number of pictures."""
        counted = Counter((row.label, row.subset) for row in self.rows if row.subset)
        labels = sorted({row.label for row in self.rows} - {""})
        return {label: {subset: counted[label, subset] for subset in self.subsets} for label in labels}

    @property
    def left_out(self) -> list[Row]:
        """The files that are in no subset, each with its reason."""
        return [row for row in self.rows if not row.subset]

    @property
    def flagged(self) -> list[Row]:
        """The files that are kept although something is odd about them."""
        return [row for row in self.rows if row.subset and row.note]

    def deviations(self) -> list[Deviation]:
        """Where the counts are not those of the ratio."""
        found = []
        for label, counts in self.counts().items():
            ends = [0, *borders(sum(counts.values()), self.ratio)]
            for part, (subset, count) in enumerate(counts.items()):
                wanted = ends[part + 1] - ends[part]
                if count != wanted:
                    found.append(Deviation(label=label, subset=subset, count=count, wanted=wanted))
        return found


def split(source: Path, options: SplitOptions | None = None, progress: Progress = SILENT) -> SplitResult:
    """Split class folders, or an archive of them, into training and validation pictures.

    Every file is read, hashed and decoded first; files that are no readable picture are left out and named, as are
    copies, and pictures that lie under two labels. The same pictures give the same split, whatever they are called.
    Nothing in `source` is changed (but for `move`), and an earlier split only with `update` or `force`. A run that
    was interrupted is completed by the next.

    Args:
        source: a folder with one folder per class, or a .zip, .tar, .tar.gz or .tgz of one.
        options: how; the default takes nine of ten for training.
        progress: receives two stages, reading and placing.

    Raises:
        InputError: `source` is missing, empty, damaged or split already; the folder to make holds something else; or
            a file would be left out under `strict`.
        UsageError: the folder to make lies within the source, or options that do not go together.
        LockedError: another run is splitting into the same folder.
        MachineError: a hard link to another disk.
    """
    options = options or SplitOptions()
    out = options.out or _default_out(source)
    _refuse_overlap(source, out)
    with nullcontext() if options.dry_run else hold(out):
        earlier = read_earlier(out)
        if earlier and (moved := _moved_before(source, out, options, earlier, progress)):
            return moved
        if earlier and earlier.moving and options.update and not options.dry_run:
            finish_move(out, earlier, progress)
            earlier = read_earlier(out)
        return _split(open_source(source, options.labels), out, options, earlier, progress)


def _split(
    source: Source, out: Path, options: SplitOptions, earlier: Earlier | None, progress: Progress
) -> SplitResult:
    """`split` once the source is listed and the folder is held."""
    _refuse_source(source, options)
    if source.table is not None:
        split_rows.check_folder_names(source)
        source.table.warn(progress)
    state = State(
        complete=True,
        update=options.update,
        originals=options.mode is Mode.MOVE or (earlier is not None and earlier.state.originals),
        source=source.root or os.path.abspath(source.path),
        fingerprint=source.fingerprint(),
        settings=options.settings(),
    )
    result = SplitResult(out=out, rows=[], outcome="planned", ratio=options.ratio)
    if earlier and not options.force and _is_unchanged(earlier, state) and not earlier.missing(out):
        return replace(result, rows=earlier.rows, outcome="unchanged")
    rows = _plan(source, options, earlier if options.update else None, progress)
    _check_counts(source, replace(result, rows=rows), progress)
    if options.strict:
        _refuse_left_out(source, rows)
    same = earlier is not None and _is_same(earlier, state, rows)
    if earlier and not same and not options.update:
        _refuse_replacing(out, earlier, state, rows, options)
    if options.dry_run:
        return replace(result, rows=rows)
    _refuse_overwriting(out, rows, earlier)
    n_placed = apply(source, out, rows, state, earlier, progress)
    if same:
        return replace(result, rows=rows, outcome="completed" if n_placed else "unchanged")
    return replace(result, rows=rows, outcome="updated" if earlier and options.update else "made")


def _refuse_overwriting(out: Path, rows: list[Row], earlier: Earlier | None) -> None:
    """Nothing that a split did not place is ever replaced, whoever put it there.

    Raises:
        InputError: a file is in the way.
    """
    if earlier is None:
        return  # the folder is new or empty
    placed = earlier.targets
    for row in rows:
        if row.target and row.target not in placed and os.path.lexists(os.path.join(out, row.target)):
            raise InputError(
                f"{printable(os.path.join(out, row.target))}: this file is in the way of {printable(row.path)}, and no "
                "split put it there; nothing was changed",
                hint="move it away, or into the source folder of its class, then run the same command again",
            )


def _check_counts(source: Source, result: SplitResult, progress: Progress) -> None:
    """A split without a picture is an error; a class without one in a part is worth a warning.

    Raises:
        InputError: no file is in any part.
    """
    counts = result.counts()
    if not any(n for parts in counts.values() for n in parts.values()):
        reasons = Counter(row.reason for row in result.rows).most_common(3)
        raise InputError(
            f"{printable(str(source.path))}: not one picture can be placed "
            f"({', '.join(f'{n:,} {reason}' for reason, n in reasons)})",
            hint="pictures must lie in a folder with the name of their class; toolkit check names what is wrong",
        )
    for label, parts in counts.items():
        empty = [subset for subset, n in parts.items() if not n]
        if empty and sum(parts.values()):
            progress.warn(f"class {printable(label)} has no picture for {' and '.join(empty)}; it needs more of them")


def _default_out(source: Path) -> Path:
    name = archive.stem(source) if archive.is_archive(source) else source.resolve().name
    return Path(f"{name}-split")


def _plan(source: Source, options: SplitOptions, earlier: Earlier | None, progress: Progress) -> list[Row]:
    """The row of every file, by the stable rule."""
    settings = Examination(
        pixels=options.verify,
        sketch=options.near_duplicates,
        limits=Limits.of(options.max_pixels, options.max_memory),
        workers=options.workers,
    )
    examined = examine_all(source, settings, progress)
    if options.mode is Mode.MOVE:
        examined = [_without_link(source, e) for e in examined]
    kept = [e for e in examined if e.header]
    if not kept:
        raise InputError(
            f"{printable(str(source.path))}: {len(examined):,} files, but not one readable picture in a class folder",
            hint=f"look at them with: toolkit check {shlex.quote(printable(str(source.path)))}",
        )
    before = [row for row in earlier.rows if row.subset] if earlier else []
    moved = earlier is not None and earlier.state.originals
    known = {} if moved or not before else split_rows.match(before, kept)
    continued = {row.target for row in known.values()}
    gone = [row if moved else replace(row, note=split_rows.GONE) for row in before if row.target not in continued]
    groups = split_rows.groups([*(e.file.name for e in kept), *(row.path for row in gone)], options.group_by)
    assigned = [known[i].subset if i in known else "" for i in range(len(kept))]
    pictures = [
        Picture(e.file.name, e.file.label, e.digest, *rest) for e, *rest in zip(kept, groups, assigned, strict=False)
    ] + [
        Picture(row.path, row.label, row.sha256, group, row.subset)
        for row, group in zip(gone, groups[len(kept) :], strict=True)
    ]
    near = _near(kept) if options.near_duplicates else []
    choices = plan(pictures, options.ratio, options.seed, keep_duplicates=options.keep_duplicates, near=near)
    return split_rows.build(examined, choices, known, gone)


def _near(pictures: list[Examined]) -> list[tuple[int, int]]:
    from toolkit.images import near_duplicates as similarity  # numpy and OpenCV are loaded only where they are needed

    sketches = [picture.sketch for picture in pictures if picture.sketch is not None]
    return [(pair.first, pair.second) for pair in similarity.near_pairs(sketches)]


def _without_link(source: Source, examined: Examined) -> Examined:
    """A link is not moved: what it points to stays where it is, and a relative link would break."""
    if not os.path.islink(source.origin(examined.file)):
        return examined
    return replace(examined, header=None, problem=Problem("link", "a link, which --mode move does not move"))


def _is_unchanged(earlier: Earlier, state: State) -> bool:
    """Whether source and settings are those of a complete split; its files are not looked at."""
    before = earlier.state
    return before.complete and (before.source, before.fingerprint, before.settings) == (
        state.source,
        state.fingerprint,
        state.settings,
    )


def _is_same(earlier: Earlier, state: State, rows: list[Row]) -> bool:
    """Whether the earlier run, complete or not, was to make this very split."""
    before = earlier.rows if earlier.state.complete else earlier.planned
    return earlier.state.settings == state.settings and [r.printed() for r in before] == [r.printed() for r in rows]


def _moved_before(
    source: Path, out: Path, options: SplitOptions, earlier: Earlier, progress: Progress
) -> SplitResult | None:
    """The result where an earlier `--mode move` has taken the files away already; it is completed first."""
    state = earlier.state
    inside = os.path.join(os.path.abspath(source), "")
    if (
        state.settings != options.settings()
        or not state.originals
        or not os.path.join(state.source, "").startswith(inside)
    ):
        return None
    result = SplitResult(out=out, rows=earlier.rows, outcome="unchanged", ratio=options.ratio)
    if earlier.moving:
        if options.dry_run:
            return replace(result, rows=earlier.planned, outcome="planned")
        rows = finish_move(out, earlier, progress)
        return replace(result, rows=rows, outcome="completed")
    try:
        left = {printable(file.name) for file in open_source(source, options.labels).files}
    except InputError:
        left = set()
    known = {printable(row.path) for row in earlier.rows if not row.subset}
    return result if left <= known and not earlier.missing(out) else None


def _refuse_source(source: Source, options: SplitOptions) -> None:
    path = printable(str(source.path))
    if source.is_split:
        raise InputError(
            f"{path}: holds {', '.join(source.labels)}: this is split already",
            hint=f"train on it as it is, or split one part: toolkit split {shlex.quote(f'{path}/{source.labels[0]}')}",
        )
    if source.root is None and options.mode is not Mode.COPY:
        raise UsageError(
            f"--mode {options.mode}: {path} is an archive, whose members can only be copied",
            hint="leave --mode out, or unpack the archive and give the folder",
        )


def _refuse_overlap(source: Path, out: Path) -> None:
    if not source.is_dir():
        return
    inner, outer = os.path.realpath(out), os.path.realpath(source)
    if inner == outer or inner.startswith(outer + os.sep) or outer.startswith(inner + os.sep):
        raise UsageError(
            f"{printable(str(out))}: the split would lie within {printable(str(source))}, or around it",
            hint="choose another place with --out",
        )


def _refuse_left_out(source: Source, rows: list[Row]) -> None:
    left_out = [row for row in rows if not row.subset]
    if left_out:
        shown = "".join(f"\n  {printable(row.path)}: {row.note}" for row in left_out[:20])
        more = f"\n  and {len(left_out) - 20:,} more" if len(left_out) > 20 else ""
        raise InputError(
            f"{printable(str(source.path))}: {len(left_out):,} files would be left out under --strict:{shown}{more}",
            hint="remove or repair them, or leave --strict out",
        )


def _refuse_replacing(out: Path, earlier: Earlier, state: State, rows: list[Row], options: SplitOptions) -> None:
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
        old, new = {printable(row.path) for row in earlier.rows}, {printable(row.path) for row in rows}
        why = f"and its source has changed since ({len(new - old):,} files new, {len(old - new):,} gone)"
    raise InputError(
        f"{printable(str(out))}: holds another split, {why}",
        hint="choose another folder with --out, add what is new with --update, or replace it with --force",
    )


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
