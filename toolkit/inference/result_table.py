"""Result files: what a row holds, and how it is written and read back."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from toolkit.core.text import printable
from toolkit.inference.labeller import BatchResult
from toolkit.inference.session import Probabilities
from toolkit.model_files.contract import Contract

OK: Final = "ok"
UNSURE: Final = "unsure"
ERROR: Final = "error"

Row = list[str]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of a result file, and how predictions become rows.

    Attributes:
        contract: of the model; its labels name the classes.
        model: the short fingerprint of model and options, the last cell of every row.
        top_k: how many labels with their confidence, 1..K.
        probabilities: whether every class has a column of its own.
        min_confidence: below it a row is `unsure` and its labels stay empty.
    """

    contract: Contract
    model: str
    top_k: int = 1
    probabilities: bool = False
    min_confidence: float = 0.0

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The class names as a result file shows them."""
        return tuple(map(printable, self.contract.labels))

    @property
    def columns(self) -> Row:
        """The names of the columns, in order."""
        ranked = ["label", "confidence"]
        for k in range(2, self.top_k + 1):
            ranked += [f"label_{k}", f"confidence_{k}"]
        every = [f"p:{label}" for label in self.labels] if self.probabilities else []
        return ["path", *ranked, *every, "truth", "status", "error", "size", "mtime_ns", "model"]

    def rows(self, result: BatchResult) -> list[Row]:
        """One row for each sample of a batch, in their order."""
        labels = self.labels
        ranks = _ranks(result.probabilities, self.top_k)
        chosen = np.take_along_axis(result.probabilities, ranks, axis=1).tolist()
        every = result.probabilities.tolist() if self.probabilities else None
        empty = [""] * (2 * self.top_k + (len(labels) if self.probabilities else 0))
        rows = []
        for i, (sample, error, rank) in enumerate(zip(result.samples, result.errors, ranks.tolist(), strict=True)):
            if error:
                status, cells = ERROR, empty
            else:
                unsure = chosen[i][0] < self.min_confidence
                status = UNSURE if unsure else OK
                cells = []
                for column, confidence in zip(rank, chosen[i], strict=True):
                    cells += ["" if unsure else labels[column], f"{confidence:.6f}"]
                if every is not None:
                    cells += [f"{p:.6f}" for p in every[i]]
            state = [str(sample.size), str(sample.mtime_ns)] if sample.size >= 0 else ["", ""]
            rows.append([sample.name, *cells, truth(sample.name, labels), status, error, *state, self.model])
        return rows


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


def encode(rows: list[Row]) -> bytes:
    """Rows as RFC 4180 in UTF-8, each ended by CR LF."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def read_rows(file: BinaryIO) -> Iterator[tuple[Row, int]]:
    """The whole rows of a CSV from the file's place on, each with the offset behind it; a torn last row is left out.

    Raises:
        csv.Error, UnicodeDecodeError: what follows is no CSV in UTF-8.
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
