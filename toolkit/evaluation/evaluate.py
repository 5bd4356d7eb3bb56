"""Labelled folders + a model file -> everything that the reports say about it."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.core.coerce import coerce
from toolkit.core.errors import InputError
from toolkit.core.files import atomic_write
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.label_table import LabelTables, labels_in
from toolkit.data.read import read_file
from toolkit.data.split_tree import find_split_tree
from toolkit.evaluation.gallery import Gallery, Shown
from toolkit.evaluation.overlap import describe, is_among, report_overlap, trained_digests
from toolkit.images.decode import decode
from toolkit.images.header import MAX_PIXELS
from toolkit.images.limits import Limits
from toolkit.images.spec import Preprocess
from toolkit.inference.inputs import Inputs, PassedOver
from toolkit.inference.labeller import Prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, layout, open_model, predict
from toolkit.inference.result_table import Layout, ResultRow, encode
from toolkit.metrics.classification import Report, report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.pr_roc import LIMIT, ClassCurves, ScoreStore
from toolkit.metrics.probabilistic import ProbabilityTally
from toolkit.model_files.contract import Contract
from toolkit.sessions.backend import Device, Precision, Runtime
from toolkit.sessions.resolve import resolve_model
from toolkit.sessions.session import Probabilities, Session

CHUNK: Final = 256
MAX_FAILURES: Final = 200
"""Unreadable files that reports name one by one; of more, the number is given."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How to evaluate.

    Attributes:
        device, runtime, precision: where, with what and how exactly the model runs, as `infer` takes them.
        min_confidence: below it a picture is `unsure` and counts as not answered.
        gallery: how many mistakes, and how many doubtful right answers, the page shows at most.
        batch_size, workers: None chooses from the machine and the model.
        max_pixels: larger pictures are refused from their header.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        force: replace files in the folder of the reports that no evaluation wrote.
        labels: tables that give the true classes; None: the folders do, or a `metadata.csv` in the data.
    """

    device: Device = "auto"
    runtime: Runtime = Runtime.AUTO
    precision: Precision = Precision.EXACT
    min_confidence: float = 0.0
    gallery: int = 90
    batch_size: int | None = None
    workers: int | None = None
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None
    force: bool = False
    labels: LabelTables | None = None

    def __post_init__(self) -> None:
        coerce(self, runtime=Runtime, precision=Precision)
        self.for_infer()

    def for_infer(self) -> InferOptions:
        """The same, as `infer` takes it: what makes the rows of both equal."""
        return InferOptions(
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            min_confidence=self.min_confidence,
            batch_size=self.batch_size,
            workers=self.workers,
            max_pixels=self.max_pixels,
            max_memory=self.max_memory,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """The model file that was evaluated.

    Attributes:
        path: as given, or the file in the bundle that was given.
        size_bytes: of the file.
        fingerprint: SHA-256 (hex) of the file.
        contract: what the file promises.
        device: where it ran.
        arithmetic: such as "openvino bfloat16"; "" for the file's own runtime, exact.
        pictures_per_s: reading, decoding and labelling, with all workers.
        run_ms: median time of the network alone for one picture on one thread, in batches; NaN where nothing ran.
    """

    path: Path
    size_bytes: int
    fingerprint: str
    contract: Contract
    device: str
    arithmetic: str
    pictures_per_s: float
    run_ms: float


@dataclass(kw_only=True, slots=True)
class DataCard:
    """The pictures that it was evaluated on.

    Attributes:
        path: the folder.
        n_files: pictures in it, a row in `predictions.csv` for each.
        n_labelled: those of a class that the model knows.
        missing: classes of the model without a picture.
        extra: folders that are no class of the model -> their pictures, which no figure counts.
        passed_over: files that are no pictures.
        failures: the first unreadable files, (name, reason).
        n_failures: all of them.
        unread: folders that could not be read; each has a row.
        n_trained_on: readable images that the model was trained on, by their bytes; None where that is not known.
    """

    path: Path
    n_files: int = 0
    n_labelled: int = 0
    missing: tuple[str, ...] = ()
    extra: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    n_failures: int = 0
    n_trained_on: int | None = None
    unread: list[str] = field(default_factory=list)

    @property
    def n_readable(self) -> int:
        """Images that have an answer, or could have one."""
        return self.n_files - self.n_failures


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One model on one folder; every report is written from this.

    Attributes:
        model, data: what was evaluated on what.
        options: how.
        labels: class names in the model's order, as text.
        confusion, report: answers against truth, and their figures.
        probabilities: top-k, log loss, calibration, thresholds.
        curves: one entry per class, () where they were left out.
        notes: what was left out, and other things to know, in sentences.
        mistakes, doubtful: the pictures of the gallery.
    """

    model: ModelCard
    data: DataCard
    options: EvaluateOptions
    labels: tuple[str, ...]
    confusion: ConfusionMatrix
    report: Report
    probabilities: ProbabilityTally
    curves: tuple[ClassCurves, ...]
    notes: tuple[str, ...]
    mistakes: tuple[Shown, ...]
    doubtful: tuple[Shown, ...]


def run(
    data: Path,
    model: Path,
    predictions_csv: Path,
    options: EvaluateOptions | None = None,
    progress: Progress = SILENT,
    on_rows: Callable[[list[ResultRow]], object] | None = None,
) -> Evaluation:
    """Label every image below `data`, hold the answers against the folders' names, and write `predictions_csv`.

    Args:
        on_rows: is given the rows, some at a time, in their order.

    Raises:
        InputError: no such folder, no pictures, or none in a folder named like a class of the model.
        ModelError, MachineError: the model cannot be run.
    """
    options = options or EvaluateOptions()
    session = open_model(model, options.for_infer())
    table = layout(session, options.for_infer())
    root = held_out(data, table.labels, progress)
    truths = _truths(root, options, table, progress)
    tally = _Tally(table, root, options, trained_digests(resolve_model(model), session.contract), truths)
    counts = PassedOver()
    samples = Inputs(paths=(str(root),)).samples(counts)
    started = time.perf_counter()
    with atomic_write(predictions_csv) as temporary, temporary.open("wb") as file:
        file.write(encode([table.columns]))
        for chunk in batches(predict(samples, session, options.for_infer(), progress), CHUNK):
            rows = tally.add(chunk)
            file.write(table.encode(rows))
            if on_rows is not None:
                on_rows(rows)
        seconds = time.perf_counter() - started
        tally.data.passed_over = counts.others
        tally.check()
    report_overlap(root, tally.data.n_trained_on, tally.data.n_readable, progress)
    card = ModelCard(
        path=resolve_model(model),
        size_bytes=session.n_bytes,
        fingerprint=session.fingerprint,
        contract=session.contract,
        device=session.device,
        arithmetic=session.arithmetic,
        pictures_per_s=tally.data.n_files / seconds,
        run_ms=_run_ms(session, tally.gallery, options),
    )
    return tally.evaluation(card, options)


def held_out(data: Path, labels: tuple[str, ...], progress: Progress = SILENT) -> Path:
    """`data`, or its held-out subset where it is a split tree.

    Raises:
        InputError: `data` is missing or no folder.
    """
    if not data.is_dir():
        found = "a file" if data.exists() else "nothing"
        raise InputError(
            f"{printable(str(data))}: expected a folder with one folder per class, found {found}",
            hint=f"the model's classes are {', '.join(labels[:8])}{', …' if len(labels) > 8 else ''}",
        )
    tree = find_split_tree(data)
    if tree is None or any((data / label).is_dir() for label in labels):
        return data
    chosen = tree.for_evaluation
    progress.line(f"{printable(str(data))} is a split tree: evaluating {chosen.name}")
    return chosen


def _truths(root: Path, options: EvaluateOptions, table: Layout, progress: Progress) -> dict[str, str] | None:
    """Name in the rows -> true class, where tables give it; None where folders do."""
    found = labels_in(root, options.labels)
    if found is None:
        return None
    found.warn(progress)
    known = {unicodedata.normalize("NFC", label): label for label in table.labels}
    start = os.path.join(root, "")
    return {
        printable((start + place).replace(os.sep, "/")): known[label]
        for place, label in found.by_place.items()
        if label in known and place not in found.contradictions
    }


class _Tally:
    """Everything that is summed up while predictions stream by."""

    def __init__(
        self,
        table: Layout,
        root: Path,
        options: EvaluateOptions,
        trained_on: frozenset[str] | None = None,
        truths: Mapping[str, str] | None = None,
    ) -> None:
        self._truths = truths
        n_classes = len(table.labels)
        self._trained_on = trained_on
        self.data = DataCard(path=root, n_trained_on=None if trained_on is None else 0)
        self.gallery = Gallery(n_classes, options.gallery)
        self._table = table
        self._index = {label: index for index, label in enumerate(table.labels)}
        self._confusion = ConfusionMatrix(table.labels)
        self._probabilities = ProbabilityTally(n_classes)
        self._scores = ScoreStore(n_classes)

    def add(self, chunk: list[Prediction]) -> list[ResultRow]:
        """Count a chunk, and return its rows."""
        rows = self._table.rows(chunk)
        if self._truths is not None:
            rows = [row._replace(truth=self._truths.get(row.path, "")) for row in rows]
        truths: list[int] = []
        scores: list[Probabilities] = []
        for row, prediction in zip(rows, chunk, strict=True):
            self.data.n_files += 1
            if row.error:
                self.data.n_failures += 1
                if len(self.data.failures) < MAX_FAILURES:
                    self.data.failures.append((row.path, row.error))
                if row.path.endswith("/"):
                    self.data.unread.append(row.path)
            elif self._trained_on is not None and is_among(prediction.sample.path, self._trained_on):
                self.data.n_trained_on = (self.data.n_trained_on or 0) + 1
            if not self._confusion.add_row(truth=row.truth, label=row.label, status=row.status):
                self.data.extra[self._folder(row.path)] += 1
                continue
            self.data.n_labelled += 1
            if prediction.probabilities is not None:
                truths.append(self._index[row.truth])
                scores.append(prediction.probabilities)
                self.gallery.add(prediction.sample, truths[-1], prediction.probabilities)
        probabilities = np.stack(scores) if scores else np.zeros((0, len(self._index)), np.float32)
        self._probabilities.add(truths, probabilities)
        self._scores.add(truths, probabilities)
        return rows

    def _folder(self, name: str) -> str:
        """The folder below the root that a file lies in, for files of no class of the model."""
        inside = name.removeprefix(printable(str(self.data.path))).strip("/")
        return inside.partition("/")[0] if "/" in inside else "."

    def check(self) -> None:
        """Refuse to report on nothing."""
        place, data = printable(str(self.data.path)), self.data
        if not data.n_files:
            raise InputError(f"{place}: expected pictures, found none", hint="check the path")
        if not data.n_labelled:
            raise InputError(
                f"{place}: none of its folders is a class of the model; "
                f"found {_some(sorted(data.extra))}, expected {_some(self._index)}",
                hint="rename the folders, or use toolkit infer for pictures without a truth",
            )

    def evaluation(self, model: ModelCard, options: EvaluateOptions) -> Evaluation:
        """The sums as figures."""
        confusion, data = self._confusion, self.data
        present = confusion.counts.sum(axis=1) + confusion.unsure + confusion.errors
        data.missing = tuple(label for label, n in zip(confusion.labels, present.tolist(), strict=True) if not n)
        return Evaluation(
            model=model,
            data=data,
            options=options,
            labels=confusion.labels,
            confusion=confusion,
            report=report(confusion),
            probabilities=self._probabilities,
            curves=self._scores.curves(),
            notes=tuple(self._notes()),
            mistakes=tuple(self.gallery.mistakes()),
            doubtful=tuple(self.gallery.doubtful()),
        )

    def _notes(self) -> Iterator[str]:
        data = self.data
        if data.n_trained_on:
            yield f"{describe(data.n_trained_on, data.n_readable).capitalize()}."
        if data.missing:
            yield f"Classes of the model without a picture here: {_some(data.missing)}."
        if data.extra:
            named = _some([f"{folder} ({n:,})" for folder, n in sorted(data.extra.items())])
            yield f"Pictures in folders that are no class of the model, not counted in any figure: {named}."
        if data.n_failures:
            yield f"{data.n_failures:,} pictures could not be read; they have a row, and no figure counts them."
        if self._scores.full:
            size = f"{self._probabilities.n:,} pictures x {len(self._index):,} classes"
            yield f"Average precision, ROC AUC and their curves are left out: {size} is more than {LIMIT:,} scores."


def _some(names: Iterable[str], limit: int = 12) -> str:
    every = list(names)
    more = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def _run_ms(session: Session, gallery: Gallery, options: EvaluateOptions, batch: int = 8) -> float:
    """Median time of the network alone for one picture, in batches of real pictures."""
    images = []
    for shown in [*gallery.mistakes(), *gallery.doubtful()][:batch]:
        try:
            images.append(_decoded(shown.path, session.contract.preprocess, options))
        except (OSError, InputError):
            continue
    if not images:
        return float("nan")
    pictures = np.stack(images)
    session.run(pictures)
    times: list[float] = []
    until = time.perf_counter() + 0.5
    while len(times) < 5 or (time.perf_counter() < until and len(times) < 50):
        started = time.perf_counter()
        session.run(pictures)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000 / len(pictures)


def _decoded(path: str, spec: Preprocess, options: EvaluateOptions) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return decode(read_file(path), spec, limits=Limits.of(options.max_pixels, options.max_memory))
