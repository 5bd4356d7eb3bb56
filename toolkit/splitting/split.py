"""Class folders, or an archive of them -> `DIR/train/<class>/…`, `DIR/validation/<class>/…` and `DIR/split.csv`."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data import archive
from toolkit.data.class_names import check_class_names, warn_of_loose
from toolkit.data.class_source import Problem, Source, open_source
from toolkit.data.probe import Examination, Examined, examine_all
from toolkit.data.remote.urls import refuse_remote_out, remote_url, shown_input
from toolkit.images.limits import Limits
from toolkit.splitting import guards
from toolkit.splitting import rows as split_rows
from toolkit.splitting.mode import Mode
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.place import EarlierSplit, apply, finish_move, hold, read_earlier
from toolkit.splitting.plan import SUBSETS, borders, plan
from toolkit.splitting.table import SplitRow, State


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """A class whose share is not as large as the ratio says, because groups stay whole or a split was updated."""

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
        ratio: the shares asked for.
    """

    out: Path
    rows: list[SplitRow]
    outcome: str
    ratio: tuple[Decimal, ...]

    @property
    def done(self) -> bool:
        """False where nothing was written."""
        return self.outcome not in ("unchanged", "planned")

    @property
    def subsets(self) -> tuple[str, ...]:
        """The names of the subsets: train, validation, and test where the ratio has three."""
        return SUBSETS[: len(self.ratio)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Class -> subset -> number of images."""
        counted = Counter((row.label, row.subset) for row in self.rows if row.subset)
        labels = sorted({row.label for row in self.rows} - {""})
        return {label: {subset: counted[label, subset] for subset in self.subsets} for label in labels}

    @property
    def left_out(self) -> list[SplitRow]:
        """The files that are in no subset, each with its reason."""
        return [row for row in self.rows if not row.subset]

    @property
    def flagged(self) -> list[SplitRow]:
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
    """Split class folders, or an archive of them, into training and validation images.

    Every file is read, hashed and decoded first; files that are not readable images are left out and named, as are
    copies, and images that lie under two labels. The same images give the same split, whatever they are called.
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
    refuse_remote_out(out)
    guards.refuse_overlap(source, out)
    with nullcontext() if options.dry_run else hold(out):
        earlier = read_earlier(out)
        if earlier and (moved := _moved_before(source, out, options, earlier, progress)):
            return moved
        if earlier and earlier.moving and options.update and not options.dry_run:
            finish_move(out, earlier, progress)
            earlier = read_earlier(out)
        return _split(open_source(source, options.labels, remote=True), out, options, earlier, progress)


def _split(
    source: Source, out: Path, options: SplitOptions, earlier: EarlierSplit | None, progress: Progress
) -> SplitResult:
    """`split` once the source is listed and the folder is held."""
    guards.refuse_source(source, options)
    check_class_names(shown_input(source.path), source.labels, source.empty, progress, strict=options.strict)
    if source.table is not None:
        split_rows.check_folder_names(source)
        source.table.warn(progress)
    warn_of_loose(printable(str(source.path)), source.loose, progress, source.table.tables if source.table else "")
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
    guards.check_counts(source, replace(result, rows=rows).counts(), rows, progress)
    if options.strict:
        guards.refuse_left_out(source, rows)
    same = earlier is not None and _is_same(earlier, state, rows)
    if earlier and not same and not options.update:
        guards.refuse_replacing(out, earlier, state, rows, options)
    if options.dry_run:
        return replace(result, rows=rows)
    guards.refuse_overwriting(out, rows, earlier, options.mode)
    n_placed = apply(source, out, rows, state, earlier, progress)
    if same:
        return replace(result, rows=rows, outcome="completed" if n_placed else "unchanged")
    return replace(result, rows=rows, outcome="updated" if earlier and options.update else "made")


def _default_out(source: Path) -> Path:
    if (url := remote_url(source)) is not None:
        return Path(f"{url.rstrip('/').rpartition('/')[2]}-split")
    name = archive.stem(source) if archive.is_archive(source) else source.resolve().name
    return Path(f"{name}-split")


def _plan(source: Source, options: SplitOptions, earlier: EarlierSplit | None, progress: Progress) -> list[SplitRow]:
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
    samples = [split_rows.SplitSample(e) for e in examined]
    usable = [sample for sample in samples if sample.usable]
    if not usable:
        raise InputError(
            f"{shown_input(source.path)}: {len(examined):,} files, but not one readable image in a class folder",
            hint=f"look at them with: toolkit check {shlex.quote(shown_input(source.path))}",
        )
    before = [row for row in earlier.rows if row.subset] if earlier else []
    moved = earlier is not None and earlier.state.originals
    if before and not moved:
        split_rows.match(before, usable)
    continued = {sample.earlier.target for sample in usable if sample.earlier}
    gone = [row if moved else replace(row, note=split_rows.GONE) for row in before if row.target not in continued]
    if source.table is not None and not moved:
        guards.refuse_other_labels(samples, gone)
    placed = [*usable, *(split_rows.SplitSample(None, row) for row in gone)]
    split_rows.group(placed, options.group_by)
    near = _near(usable) if options.near_duplicates else []
    items = [sample.item() for sample in placed]
    choices = plan(items, options.ratio, options.seed, keep_duplicates=options.keep_duplicates, near=near)
    for sample, choice in zip(placed, choices, strict=True):
        sample.choice = choice
    return split_rows.build(samples, gone)


def _near(samples: list[split_rows.SplitSample]) -> list[tuple[int, int]]:
    from toolkit.images import near_duplicates as similarity  # numpy and OpenCV are loaded only where they are needed

    sketches = [sample.examined.sketch for sample in samples if sample.examined and sample.examined.sketch is not None]
    return [(pair.first, pair.second) for pair in similarity.near_pairs(sketches)]


def _without_link(source: Source, examined: Examined) -> Examined:
    """A link is not moved: what it points to stays where it is, and a relative link would break."""
    if not os.path.islink(source.origin(examined.file)):
        return examined
    return replace(examined, header=None, problem=Problem("link", "a link, which --mode move does not move"))


def _is_unchanged(earlier: EarlierSplit, state: State) -> bool:
    """Whether source and settings are those of a complete split; its files are not looked at."""
    before = earlier.state
    return before.complete and (before.source, before.fingerprint, before.settings) == (
        state.source,
        state.fingerprint,
        state.settings,
    )


def _is_same(earlier: EarlierSplit, state: State, rows: list[SplitRow]) -> bool:
    """Whether the earlier run, complete or not, was to make this very split."""
    before = earlier.rows if earlier.state.complete else earlier.planned
    return earlier.state.settings == state.settings and [r.printed() for r in before] == [r.printed() for r in rows]


def _moved_before(
    source: Path, out: Path, options: SplitOptions, earlier: EarlierSplit, progress: Progress
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
