"""Labelled folders + a model file -> everything that the reports say about it."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.core.errors import InputError
from toolkit.core.files import atomic_write
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import counted, printable
from toolkit.data.class_names import check_class_names
from toolkit.data.label_table import TABLE_HINT, Labels, LabelTables, find_labels, labels_in
from toolkit.data.read import read_file
from toolkit.data.remote.urls import BUCKETS, is_remote, remote_url, shown_input
from toolkit.data.split_tree import TEST, TRAIN, VALIDATION, find_split_tree, subset_of
from toolkit.data.walk import walk
from toolkit.evaluation.gallery import Gallery
from toolkit.evaluation.overlap import describe, is_among, report_overlap, trained_digests
from toolkit.evaluation.result import DataCard, EvaluateOptions, Evaluation, ModelCard
from toolkit.images.decode import decode
from toolkit.images.limits import Limits
from toolkit.images.spec import Preprocess
from toolkit.inference.inputs import Inputs
from toolkit.inference.labeller import Prediction
from toolkit.inference.predict import batches, layout, open_model, predict
from toolkit.inference.result_table import Layout, ResultRow, encode
from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.pr_roc import LIMIT, ScoreStore
from toolkit.metrics.probabilistic import ProbabilityTally
from toolkit.sessions.resolve import resolve_model
from toolkit.sessions.session import Probabilities, Session

CHUNK: Final = 256
MAX_FAILURES: Final = 200
"""Unreadable files that reports name one by one; of more, the number is given."""


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
        InputError: no such folder, no images, or none in a folder named like a class of the model.
        ModelError, MachineError: the model cannot be run.
    """
    options = options or EvaluateOptions()
    session = open_model(model, options.for_infer())
    table = layout(session, options.for_infer())
    root = held_out(data, table.labels, progress)
    inputs = Inputs(paths=(str(root),))
    inputs.check()
    truths = _truths(root, options, table, progress)
    if truths is None:
        _check_folders(root, table.labels, options, progress)
    digests = None if inputs.any_url() else trained_digests(resolve_model(model), session.contract)
    tally = _Tally(table, root, options, digests, truths)
    samples = inputs.samples(tally.data.passed_over)
    started = time.perf_counter()
    with atomic_write(predictions_csv) as temporary, temporary.open("wb") as file:
        file.write(encode([table.columns]))
        for chunk in batches(predict(samples, session, options.for_infer(), progress), CHUNK):
            rows = tally.add(chunk)
            file.write(table.encode(rows))
            if on_rows is not None:
                on_rows(rows)
        seconds = time.perf_counter() - started
        tally.check(model)
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
    if (url := remote_url(data)) is not None:
        return _held_out_of_bucket(url, labels, progress)
    if not data.is_dir():
        found, what = (
            ("a file", "give the folder of the class folders") if data.exists() else ("nothing", "check the path")
        )
        raise InputError(
            f"{printable(str(data))}: expected a folder with one folder per class, found {found}",
            hint=f"{what}; the model's classes are {_some(labels, 8)}",
        )
    tree = find_split_tree(data)
    if tree is None or any((data / label).is_dir() for label in labels):
        return data
    chosen = tree.for_evaluation
    progress.line(f"{printable(str(data))} is a split tree: evaluating {chosen.name}")
    return chosen


def _held_out_of_bucket(url: str, labels: tuple[str, ...], progress: Progress) -> Path:
    from toolkit.data.remote.listing import folders_at

    if not url.startswith(BUCKETS):
        raise InputError(f"{shown_input(url)}: expected a folder, found the URL of one image", hint="toolkit infer URL")
    subsets = {subset_of(name): name for name in sorted(folders_at(url), reverse=True)}
    held = subsets.get(TEST) or subsets.get(VALIDATION)
    if TRAIN not in subsets or held is None or set(subsets.values()) & set(labels):
        return Path(url)
    progress.line(f"{shown_input(url)} is a split tree: evaluating {held}")
    return Path(url) / held


def _truths(root: Path, options: EvaluateOptions, table: Layout, progress: Progress) -> dict[str, str] | None:
    """Name in the rows -> true class, where tables give it; None where folders do."""
    found = _labels(root, options.labels)
    if found is None:
        return None
    found.warn(progress)
    known = {unicodedata.normalize("NFC", label): label for label in table.labels}
    start = os.path.join(shown_input(root), "").replace(os.sep, "/")
    return {
        start + printable(place): known[label]
        for place, label in found.by_place.items()
        if label in known and place not in found.contradictions
    }


def _labels(root: Path, wanted: LabelTables | None) -> Labels | None:
    """The labels that tables give the images in a folder; of a bucket no `metadata.csv` is looked for."""
    url = remote_url(root)
    if url is None:
        return labels_in(root, wanted)
    if wanted is None or not wanted.tables:
        return None
    from toolkit.data.remote.listing import samples_at

    return find_labels(root, [sample.path.removeprefix(url).removeprefix("/") for sample in samples_at(url)], wanted)


def _check_folders(root: Path, labels: tuple[str, ...], options: EvaluateOptions, progress: Progress) -> None:
    """Warn about class folders without a file, as every command does."""
    known = {unicodedata.normalize("NFC", label) for label in labels}
    if (url := remote_url(root)) is not None:
        from toolkit.data.remote.listing import folders_at

        there = {unicodedata.normalize("NFC", name) for name in folders_at(url)} & known
        check_class_names(shown_input(url), there, set(), progress, strict=options.strict)
        return
    with os.scandir(root) as entries:
        folders = [entry.path for entry in entries if entry.is_dir()]
    classes = {name: folder for folder in folders if (name := unicodedata.normalize("NFC", Path(folder).name)) in known}
    empty = {name for name, folder in classes.items() if os.access(folder, os.R_OK) and not any(walk(folder))}
    check_class_names(printable(str(root)), classes.keys() - empty, empty, progress, strict=options.strict)


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
                if row.path.endswith("/") and not is_remote(row.path):
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
        inside = name.removeprefix(shown_input(self.data.path)).strip("/")
        return inside.partition("/")[0] if "/" in inside else "."

    def check(self, model: Path) -> None:
        """Refuse to report on nothing; `model` as it was given."""
        place, data = shown_input(self.data.path), self.data
        classes = f"({printable(str(model))}: {_some(self._index)})"
        if not data.n_files:
            raise InputError(f"{place}: expected images, found none", hint="check the path")
        if not data.n_labelled and self._truths is not None:
            raise InputError(
                f"{place}: none of the labels in the table is a class of the model {classes}",
                hint="check --columns, or name with --model one that was trained on these labels",
            )
        if not data.n_labelled:
            raise InputError(
                f"{place}: none of its folders ({_some(sorted(data.extra))}) is a class of the model {classes}",
                hint="if it is the wrong model, name the right one with --model; else rename the folders, "
                f"or give {TABLE_HINT}; toolkit infer labels images without a truth",
            )

    def evaluation(self, model: ModelCard, options: EvaluateOptions) -> Evaluation:
        """The metrics, from the sums."""
        confusion, data = self._confusion, self.data
        present = confusion.counts.sum(axis=1) + confusion.unsure + confusion.errors
        data.missing = tuple(label for label, n in zip(confusion.labels, present.tolist(), strict=True) if not n)
        return Evaluation(
            model=model,
            data=data,
            options=options,
            labels=confusion.labels,
            confusion=confusion,
            report=compute_report(confusion),
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
            yield f"Classes of the model without an image here: {_some(data.missing)}."
        if data.extra:
            named = _some([f"{folder} ({n:,})" for folder, n in sorted(data.extra.items())])
            yield f"Images in folders that are not a class of the model, not counted in any metric: {named}."
        if data.n_failures:
            yield f"{counted(data.n_failures, 'image')} could not be read: a row each, and no metric counts them."
        if self._scores.full:
            size = f"{self._probabilities.n:,} images x {len(self._index):,} classes"
            yield f"Average precision, ROC AUC and their curves are left out: {size} is more than {LIMIT:,} scores."


def _some(names: Iterable[str], limit: int = 12) -> str:
    every = list(names)
    more = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def _run_ms(session: Session, gallery: Gallery, options: EvaluateOptions, batch: int = 8) -> float:
    """Median time of the network alone for one image, in batches of real images."""
    images = []
    for shown in [*gallery.mistakes(), *gallery.doubtful()][:batch]:
        try:
            images.append(_decoded(shown.path, session.contract.preprocess, options))
        except (OSError, InputError):
            continue
    if not images:
        return float("nan")
    stacked = np.stack(images)
    session.run(stacked)
    times: list[float] = []
    until = time.perf_counter() + 0.5
    while len(times) < 5 or (time.perf_counter() < until and len(times) < 50):
        started = time.perf_counter()
        session.run(stacked)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000 / len(stacked)


def _decoded(path: str, spec: Preprocess, options: EvaluateOptions) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return decode(read_file(path), spec, limits=Limits.of(options.max_pixels, options.max_memory))
