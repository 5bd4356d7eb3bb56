"""Result files: what a row holds, and how it is written and read back."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.core.parse import share
from toolkit.core.text import no_formula, printable, with_formula
from toolkit.data.walk import Detection
from toolkit.images.exif import Exif
from toolkit.inference.extra_columns import DETECTION, EXIF, Extra, detection_cells, exif_cells, parse_detection
from toolkit.inference.labeller import Prediction
from toolkit.model_files.contract import Contract
from toolkit.sessions.session import Probabilities

OK: Final = "ok"
UNSURE: Final = "unsure"
ERROR: Final = "error"
EMPTY: Final = "empty"
"""The status where a detector saw nothing in the image that has a size and is sure enough: nothing was labelled."""

CSV_SAFE: Final = "-csv-safe"
"""How the fingerprint in a row ends whose texts have an apostrophe before what a spreadsheet would compute."""

Cells = list[str]
"""A line of a result file, as text."""


class ResultRow(NamedTuple):
    """What a result file says of one input.

    Attributes:
        path: the input as given, joined with its place inside, forward slashes.
        ranked: (label, confidence) of the most probable classes, best first; () where the row is an `error` or
            `empty`. A file keeps no labels of an `unsure` row: read back, they are "".
        probabilities: of every class in the model's order; () where they were not asked for, or there are none.
        truth: the class whose folder the file lies in, "" where there is none.
        status: `OK`, `UNSURE`, `ERROR` or `EMPTY`.
        error: the reason, "" without an error.
        size: bytes, -1 where the file could not be read.
        mtime_ns: modification time in nanoseconds; 0 where the file could not be read.
        model: the short fingerprint of model and options.
        detection: the part of the image that was labelled; None for all of it, and where the row is `empty`.
        exif: what the camera wrote; None where it was not asked for or the file could not be read.
    """

    path: str
    ranked: tuple[tuple[str, float], ...]
    probabilities: tuple[float, ...]
    truth: str
    status: str
    error: str
    size: int
    mtime_ns: int
    model: str
    detection: Detection | None = None
    exif: Exif | None = None

    @property
    def label(self) -> str:
        """The answer; "" where there is none, or an unsure one."""
        return self.ranked[0][0] if self.ranked and self.status == OK else ""

    @property
    def confidence(self) -> float | None:
        """Probability of the best class, 0..1; None where nothing was labelled."""
        return self.ranked[0][1] if self.ranked else None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of a result file, and how predictions become rows.

    Attributes:
        contract: of the model; its labels name the classes.
        model: the short fingerprint of model and options, the last cell of every row.
        top_k: how many labels with their confidence, 1..K.
        probabilities: whether every class has a column of its own.
        min_confidence: below it a row is `unsure` and its labels stay empty.
        csv_safe: no text in a row begins like a formula of a spreadsheet.
        extra: the groups of columns that only some runs have.
    """

    contract: Contract
    model: str
    top_k: int = 1
    probabilities: bool = False
    min_confidence: float = 0.0
    csv_safe: bool = False
    extra: tuple[Extra, ...] = ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The class names as a result file shows them."""
        return tuple(map(printable, self.contract.labels))

    @cached_property
    def known(self) -> frozenset[str]:
        """The class names, to look names up in."""
        return frozenset(self.labels)

    @cached_property
    def columns(self) -> Cells:
        """The names of the columns, in order."""
        ranked = ["label", "confidence"]
        for k in range(2, self.top_k + 1):
            ranked += [f"label_{k}", f"confidence_{k}"]
        every = [f"p:{label}" for label in self.labels] if self.probabilities else []
        extra = [column for group in self.extra for column in group.columns]
        return ["path", *ranked, *every, *extra, "truth", "status", "error", "size", "mtime_ns", "model"]

    def rows(self, predictions: Sequence[Prediction]) -> list[ResultRow]:
        """One row for each prediction, in their order."""
        scores = self._scores([p.probabilities for p in predictions if p.probabilities is not None])
        rows = []
        for prediction in predictions:
            sample, error = prediction.sample, prediction.error
            detection = sample.detection if sample.detection and sample.detection.box else None
            ranked, every = ((), ()) if prediction.probabilities is None else next(scores)
            status = ERROR if error else OK if ranked else EMPTY
            if ranked and ranked[0][1] < self.min_confidence:
                status = UNSURE
            row = ResultRow(
                path=sample.name,
                ranked=ranked,
                probabilities=every,
                truth=truth(sample.name, self.labels),
                status=status,
                error=error,
                size=sample.size,
                mtime_ns=sample.mtime_ns,
                model=self.model,
                detection=detection,
                exif=prediction.exif,
            )
            rows.append(row)
        return rows

    def _scores(self, probabilities: list[Probabilities]) -> Iterator[_Scores]:
        """Of each image the ranked classes, and every probability where they are wanted."""
        if not probabilities:
            return
        labels = self.labels
        every = np.stack(probabilities)
        order = _ranks(every, self.top_k)
        best = np.take_along_axis(every, order, axis=1).tolist()
        whole = map(tuple, every.tolist()) if self.probabilities else repeat((), len(probabilities))
        for columns, confidences, values in zip(order.tolist(), best, whole, strict=True):
            yield tuple(zip([labels[column] for column in columns], confidences, strict=True)), values

    def cells(self, row: ResultRow) -> Cells:
        """The row as a file holds it: probabilities with six decimals, nothing where something is not known."""
        shown = no_formula if self.csv_safe else str
        scores: Cells = []
        for label, confidence in row.ranked:
            scores += ("" if row.status == UNSURE else shown(label), f"{confidence:.6f}")
        scores += [f"{p:.6f}" for p in row.probabilities]
        state = [str(row.size), str(row.mtime_ns)] if row.size >= 0 else ["", ""]
        texts = (shown(row.truth), row.status, shown(row.error))
        extra = map(shown, self._extra_cells(row)) if self.extra else ()
        return [shown(row.path), *(scores or self._no_scores), *extra, *texts, *state, row.model]

    def _extra_cells(self, row: ResultRow) -> Cells:
        detection = detection_cells(row.detection) if DETECTION in self.extra else []
        return [*detection, *(exif_cells(row.exif) if EXIF in self.extra else [])]

    @cached_property
    def _no_scores(self) -> Cells:
        return [""] * (2 * self.top_k + (len(self.labels) if self.probabilities else 0))

    def row(self, cells: Cells) -> ResultRow:
        """The inverse of `cells`.

        Raises:
            ValueError: another number of cells, or no number where one should be, or one that is no share.
        """
        if self.csv_safe:
            cells = [with_formula(cell) for cell in cells]
        path, *scores, where, status, error, size, mtime_ns, model = cells
        n_scores = len(self._no_scores)
        scores, extra = scores[:n_scores], scores[n_scores:]
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells, expected {len(self.columns)}")
        ranked: tuple[tuple[str, float], ...] = ()
        every: tuple[float, ...] = ()
        if status not in (ERROR, EMPTY):
            end = 2 * self.top_k
            ranked = tuple(zip(scores[0:end:2], map(share, scores[1:end:2]), strict=True))
            every = tuple(map(share, scores[end:]))
        read = bool(size)
        return ResultRow(
            path=path,
            ranked=ranked,
            probabilities=every,
            truth=where,
            status=status,
            error=error,
            size=int(size) if read else -1,
            mtime_ns=int(mtime_ns) if read else 0,
            model=model,
            detection=parse_detection(extra[: len(DETECTION.columns)]) if DETECTION in self.extra else None,
            exif=Exif(*extra[-len(EXIF.columns) :]) if EXIF in self.extra else None,
        )

    def encode(self, rows: Iterable[ResultRow]) -> bytes:
        """Rows as a CSV file holds them."""
        return encode([self.cells(row) for row in rows])


_Scores = tuple[tuple[tuple[str, float], ...], tuple[float, ...]]


def _ranks(probabilities: Probabilities, k: int) -> npt.NDArray[np.intp]:
    """(N, k) columns of the k largest, largest first; of equal ones the earlier class."""
    best = probabilities.argmax(axis=1, keepdims=True) if k == 1 else np.argsort(-probabilities, axis=1, kind="stable")
    return np.asarray(best[:, :k], np.intp)


def truth(name: str, labels: tuple[str, ...]) -> str:
    """The class whose folder the file called `name` lies in, the nearest one above it; "" where there is none.

    >>> truth("photos/Cat/2024/1.jpg", ("Cat", "Dog"))
    'Cat'
    """
    return _folder_truth(name.rpartition("/")[0], labels)


@lru_cache(maxsize=1024)
def _folder_truth(folder: str, labels: tuple[str, ...]) -> str:
    known = {unicodedata.normalize("NFC", label): label for label in labels}
    for part in reversed(folder.split("/")):
        label = known.get(unicodedata.normalize("NFC", part))
        if label is not None:
            return label
    return ""


def encode(lines: list[Cells]) -> bytes:
    """Lines as RFC 4180 in UTF-8, each ended by CR LF."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def read_lines(file: BinaryIO) -> Iterator[tuple[Cells, int]]:
    """The whole lines of a CSV from the file's place on, each with the offset behind it; a torn last one is left out.

    Raises:
        csv.Error, UnicodeDecodeError: what follows is not CSV in UTF-8.
    """
    lines = _Lines(file)
    try:
        for row in csv.reader(lines, strict=True):
            yield row, lines.offset
    except csv.Error:
        if not lines.ended:
            raise


class _Lines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = file.tell()
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self.offset += len(line)
            yield line.decode()
        self.ended = True


def side_path(out: Path, kind: str) -> Path:
    """The file of `kind` beside `out`.

    >>> side_path(Path("night/labels.csv"), "report.csv")
    PosixPath('night/labels.report.csv')
    """
    return out.with_name(f"{os.path.splitext(out.name)[0]}.{kind}")
