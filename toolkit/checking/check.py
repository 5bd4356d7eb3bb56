"""The audit of class folders, an archive of them, or a split tree -> findings, one per file and fault."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from toolkit.checking.findings import KINDS, Finding
from toolkit.core.coerce import coerce
from toolkit.core.errors import InputError, UsageError
from toolkit.core.machine import usable_cpus
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import counted, printable
from toolkit.data.class_names import check_class_names, warn_of_loose
from toolkit.data.class_source import NO_CLASS, Load, Problem, Source, SourceFile, open_source, told_apart
from toolkit.data.label_table import LabelTables
from toolkit.data.probe import lying_extension, parallel_map, problem_of
from toolkit.data.split_tree import STATE, TABLE, subset_of
from toolkit.images import near_duplicates as similarity
from toolkit.images.header import MAX_PIXELS, Header, read_header
from toolkit.images.limits import Limits
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.images.quality import LEAST_SIDE, Looks, look


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """What to look for.

    Attributes:
        near: correlation of two sketches, from which on they are near copies; see `similarity.THRESHOLD`.
        dark: an image is dark where 95 % of its grey levels lie below this, 0..255.
        bright: and bright where 95 % lie above this, 0..255.
        blank: and nearly blank where their standard deviation is below this.
        blurred: and blurred where its sharpness (`looks.Looks`) is below this and both sides have 128 pixels.
        grey: and grey where its channels differ by less than this, while three of four images are in colour.
        odd_size: the side of a square of its area is this many times smaller or larger than the median.
        odd_shape: the longer side is this many times the shorter one.
        few: a class has fewer images.
        imbalance: a class is this many times smaller than the largest.
        max_pixels: larger images are not decoded.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        workers: threads; None is one per processor.
        labels: tables that give the classes; None: the class folders, or a `metadata.csv` in the source.
        strict: raise where a class folder is empty, or class names differ in case only.
    """

    near: float = similarity.THRESHOLD
    dark: float = 60.0
    bright: float = 170.0
    blank: float = 8.0
    blurred: float = 0.075
    grey: float = 8.0
    odd_size: float = 4.0
    odd_shape: float = 3.0
    few: int = 20
    imbalance: float = 5.0
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None
    workers: int | None = None
    labels: LabelTables | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        coerce(self, near=float, dark=float, bright=float, blank=float, blurred=float, grey=float, odd_size=float)
        coerce(self, odd_shape=float, few=int, imbalance=float, max_pixels=int, workers=int, strict=bool)
        object.__setattr__(self, "labels", LabelTables.of(self.labels))
        most = {"near": 1.0, "dark": 255.0, "bright": 255.0, "blank": 255.0, "grey": 255.0}
        for name in (*most, "blurred", "odd_size", "odd_shape", "few", "imbalance"):
            value, limit = getattr(self, name), most.get(name, 1e9)
            if not 0 <= value <= limit:  # nan is not, either
                option = name.replace("_", "-")
                raise UsageError(f"--{option} {value}: expected a number from 0 to {limit:g}")


@dataclass(frozen=True, slots=True)
class _Seen:
    file: SourceFile
    digest: str = ""
    header: Header | None = None
    looks: Looks | None = None
    problem: Problem | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """An audit.

    Attributes:
        source: what was looked at.
        findings: in the order of `KINDS`, then of the paths.
        n_files: files looked at.
        classes: class -> number of readable images.
        not_judged: why a model that was asked for suspected labels judged none; "" otherwise.
    """

    source: Source
    findings: list[Finding]
    n_files: int
    classes: dict[str, int]
    not_judged: str = ""

    def counts(self) -> dict[str, int]:
        """Kind -> number of findings, of the kinds that were found."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS if kind in counted}


def check(source: Path, options: CheckOptions | None = None, progress: Progress = SILENT) -> CheckResult:
    """Examine every file of class folders, an archive of them, or a split tree.

    Nothing is changed. Each file is read and decoded once.

    Raises:
        InputError: `source` is missing, empty or damaged; or `strict` found something.
    """
    options = options or CheckOptions()
    opened = _with_parts(open_source(source, options.labels))
    check_class_names(printable(str(source)), opened.labels, opened.empty, progress, strict=options.strict)
    if opened.table is not None:
        opened.table.warn(progress)
    warn_of_loose(printable(str(source)), opened.loose, progress, opened.table.tables if opened.table else "")
    seen = _look_at_all(opened, options, progress)
    readable = [one for one in seen if one.looks is not None]
    findings = [finding for one in seen for finding in _unusable(one)]
    findings += _copies(readable)
    progress.start("comparing", None)
    try:
        findings += _near_copies(readable, options)
    finally:
        progress.finish()
    findings += _odd(readable, options)
    classes = Counter(one.file.label for one in readable)
    for label in opened.labels:
        classes.setdefault(label, 0)
    findings += _classes(classes, options)
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: (order[finding.kind], finding.path, finding.partner))
    return CheckResult(source=opened, findings=findings, n_files=len(seen), classes=dict(sorted(classes.items())))


def _with_parts(source: Source) -> Source:
    """A split tree's files with their subset, and the folder below it as the class."""
    if not source.is_split:
        return source
    own = (TABLE, STATE)
    return told_apart(replace(source, files=[_parted(file) for file in source.files if file.name not in own]))


def _parted(file: SourceFile) -> SourceFile:
    folders = file.name.split("/")[1:-1]
    if not file.label or not folders:
        return replace(file, label="", problem=file.problem or Problem(NO_CLASS, "lies in no class folder"))
    return replace(file, label=folders[0], subset=subset_of(file.label))


def _look_at_all(source: Source, options: CheckOptions, progress: Progress) -> list[_Seen]:
    limits = Limits.of(options.max_pixels, options.max_memory)
    seen = {file.name: _Seen(file, problem=file.problem) for file in source.files}
    readable = [file for file in source.files if file.problem is None]
    progress.start("looking", len(readable))
    try:
        with one_opencv_thread():
            loads = source.loads(readable)
            for one in parallel_map(lambda file, load: _look_at(file, load, limits), loads, options.workers):
                seen[one.file.name] = one
                progress.advance()
    finally:
        progress.finish()
    return list(seen.values())


def _look_at(file: SourceFile, load: Load, limits: Limits) -> _Seen:
    try:
        with limits.unread(file.size):
            data = load()
            digest = hashlib.sha256(data).hexdigest()
            header = read_header(data, limits.max_pixels)
            return _Seen(file, digest, header, look(data, header, limits))
    except (InputError, OSError) as error:
        return _Seen(file, problem=problem_of(error))


def _finding(kind: str, one: _Seen, detail: str, value: float | None = None, partner: str = "") -> Finding:
    shown = "" if value is None else f"{value:.3f}"
    return Finding(kind, one.file.name, partner, shown, detail, one.file.label, one.file.subset)


def _unusable(one: _Seen) -> Iterator[Finding]:
    if one.problem:
        yield _finding(one.problem.kind, one, one.problem.text)
    elif one.header and (lie := lying_extension(one.file.name, one.header.format)):
        yield _finding("extension", one, lie)


def _copies(readable: Sequence[_Seen]) -> Iterator[Finding]:
    """Of equal files, each but the first names the first; labels and subsets that differ have findings of their own."""
    same: dict[str, list[_Seen]] = defaultdict(list)
    for one in readable:
        same[one.digest].append(one)
    for copies in same.values():
        first, *others = sorted(copies, key=lambda one: (len(one.file.name), one.file.name))
        for other in others:
            yield from _alike(first, other, "duplicate", 1.0)


def _near_copies(readable: Sequence[_Seen], options: CheckOptions) -> Iterator[Finding]:
    """Near copies that are not exact ones; of exact copies only the first is compared."""
    firsts = list({one.digest: one for one in reversed(readable)}.values())[::-1]
    sketches = [one.looks.sketch for one in firsts if one.looks]
    for pair in similarity.near_pairs(sketches, options.near, options.workers or usable_cpus()):
        yield from _alike(firsts[pair.first], firsts[pair.second], "near_duplicate", pair.correlation)


def _alike(first: _Seen, second: _Seen, kind: str, value: float) -> Iterator[Finding]:
    a, b = first.file, second.file
    what = "the same bytes as" if kind == "duplicate" else "nearly the same image as"
    if a.label != b.label:
        detail = f"{what} {printable(a.name)}, under {printable(b.label)} and {printable(a.label)}"
        yield _finding("two_labels", second, detail, value, a.name)
    else:
        yield _finding(kind, second, f"{what} {printable(a.name)}", value, a.name)
    if a.subset != b.subset:
        yield _finding("leak", second, f"{what} {printable(a.name)}, in {b.subset} and {a.subset}", value, a.name)


def _odd(readable: Sequence[_Seen], options: CheckOptions) -> Iterator[Finding]:
    sides = [(one.header.width * one.header.height) ** 0.5 for one in readable if one.header]
    usual = median(sides) if sides else 1.0
    coloured = sum(one.looks.colour >= options.grey for one in readable if one.looks)
    for one, side in zip(readable, sides, strict=True):
        if one.header is None or one.looks is None:
            continue
        width, height, looks = one.header.width, one.header.height, one.looks
        shape = max(width, height) / min(width, height)
        size = f"{width}x{height}"
        if max(side / usual, usual / side) >= options.odd_size:
            yield _finding("odd_size", one, f"{size}; the usual one has the area of {usual:.0f}x{usual:.0f}", side)
        if shape >= options.odd_shape:
            yield _finding("odd_shape", one, f"{size}, {shape:.1f} to 1", shape)
        if looks.contrast < options.blank:
            yield _finding("blank", one, f"contrast {looks.contrast:.1f} of 255", looks.contrast)
        elif min(width, height) >= LEAST_SIDE and looks.sharpness < options.blurred:
            yield _finding("blurred", one, f"sharpness {looks.sharpness:.3f}", looks.sharpness)
        if looks.high < options.dark:
            yield _finding("dark", one, f"95 % of its grey levels lie below {looks.high:.0f} of 255", looks.high)
        if looks.low > options.bright:
            yield _finding("bright", one, f"95 % of its grey levels lie above {looks.low:.0f} of 255", looks.low)
        if looks.colour < options.grey and coloured >= 0.75 * len(readable):
            yield _finding("grey", one, f"its channels differ by {looks.colour:.1f} of 255", looks.colour)


def _classes(classes: Counter[str], options: CheckOptions) -> Iterator[Finding]:
    largest = max(classes.values(), default=0)
    for label, n in classes.items():
        if n < options.few:
            yield Finding("few_images", label, "", str(n), f"{counted(n, 'image')}, fewer than {options.few:,}", label)
        if n * options.imbalance <= largest:
            detail = f"{counted(n, 'image')}, the largest class has {largest:,}"
            yield Finding("imbalance", label, "", str(n), detail, label)


def failing(result: CheckResult, kinds: Collection[str]) -> dict[str, int]:
    """The kinds among `kinds` that were found, with their number."""
    return {kind: n for kind, n in result.counts().items() if kind in kinds}
