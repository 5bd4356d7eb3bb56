"""What an evaluation is asked for, and everything that its reports are written from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core.coerce import coerce
from toolkit.data.label_table import LabelTables
from toolkit.data.passed_over import PassedOver
from toolkit.evaluation.gallery import Shown
from toolkit.images.header import MAX_PIXELS
from toolkit.inference.options import InferOptions
from toolkit.metrics.classification import Report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.pr_roc import ClassCurves
from toolkit.metrics.probabilistic import ProbabilityTally
from toolkit.model_files.contract import Contract
from toolkit.sessions.backend import Device, Precision, Runtime


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How to evaluate.

    Attributes:
        device, runtime, precision: where, with what and how exactly the model runs, as `infer` takes them.
        min_confidence: below it an image is `unsure` and counts as not answered.
        gallery: how many mistakes, and how many doubtful right answers, the page shows at most.
        batch_size, workers: None chooses from the machine and the model.
        max_pixels: larger images are refused from their header.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        force: replace files in the folder of the reports that no evaluation wrote.
        labels: tables that give the true classes; None: the folders do, or a `metadata.csv` in the data.
        csv_safe: no cell of a CSV is a formula to a spreadsheet, as in `infer`.
        strict: an empty class folder is an error, and so are classes whose names differ in case only.
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
    csv_safe: bool = False
    strict: bool = False

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
            csv_safe=self.csv_safe,
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
        run_ms: median time of the network alone for one image on one thread, in batches; NaN where nothing ran.
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
    """The images that it was evaluated on.

    Attributes:
        path: the folder.
        n_files: images in it, a row in `predictions.csv` for each.
        n_labelled: those of a class that the model knows.
        missing: classes of the model without an image.
        extra: folders that are not a class of the model -> their images, which no metric counts.
        passed_over: files that are hidden or not images.
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
    passed_over: PassedOver = field(default_factory=PassedOver)
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
        confusion, report: predictions against truth, and their metrics.
        probabilities: top-k, log loss, calibration, thresholds.
        curves: one entry per class, () where they were left out.
        notes: what was left out, and other things to know, in sentences.
        mistakes, doubtful: the images of the gallery.
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
