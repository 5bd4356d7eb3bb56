"""Result formats as files: a change of one byte is a change of the format, to be made on purpose.

`python tests/test_golden_files.py --write` writes them anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from toolkit.checking.findings import Finding, write_findings
from toolkit.data.walk import Sample
from toolkit.images.spec import Preprocess
from toolkit.inference.labeller import Prediction
from toolkit.inference.result_formats import write_table
from toolkit.inference.result_table import Layout, encode
from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.csv_files import write_confusion_csv, write_report_csv
from toolkit.model_files.contract import Contract
from toolkit.model_files.history import Epoch, write_history
from toolkit.splitting.table import SplitRow, write_rows

GOLDEN = Path(__file__).parent / "golden"
LAYOUT = Layout(
    contract=Contract(labels=("Cat", "Dog, large", "猫"), preprocess=Preprocess(height=8, width=8)),
    model="0123456789ab",
    top_k=2,
    probabilities=True,
    min_confidence=0.4,
)
PREDICTIONS = [
    Prediction(
        Sample("/p/Cat/1.jpg", "p/Cat/1.jpg", 10, 1_700_000_000_000_000_001), np.array([0.75, 0.25, 0], np.float32)
    ),
    Prediction(
        Sample("/p/2.jpg", 'p/a "b",\nc.jpg', 20, 1_700_000_000_000_000_002), np.array([0.3, 0.35, 0.35], np.float32)
    ),
    Prediction(Sample("/p/猫/3.jpg", "p/猫/3.jpg", -1, 0), None, "empty: 0 bytes"),
]


def matrix() -> ConfusionMatrix:
    counted = ConfusionMatrix(("Cat", "Dog, large", "猫"))
    for truth, label, status in (
        ("Cat", "Cat", "ok"), ("Cat", "Dog, large", "ok"), ("Dog, large", "Dog, large", "ok"), ("Cat", "", "unsure"),
        ("Dog, large", "", "error"),
    ):  # fmt: skip
        counted.add_row(truth=truth, label=label, status=status)
    return counted


def cells() -> list[list[str]]:
    return [LAYOUT.cells(row) for row in LAYOUT.rows(PREDICTIONS)]


WRITERS: dict[str, Callable[[Path], object]] = {
    "labels.csv": lambda path: path.write_bytes(encode([LAYOUT.columns, *cells()])),
    "labels.jsonl": lambda path: write_table(path, LAYOUT, cells()),
    "report.csv": lambda path: write_report_csv(compute_report(matrix()), path),
    "confusion.csv": lambda path: write_confusion_csv(matrix(), path),
    "findings.csv": lambda path: write_findings([Finding("leak", "Cat/1.jpg", "Dog/2.jpg", "1.000", "x", "Cat")], path),
    "split.csv": lambda path: write_rows(path, [SplitRow("Cat/1.jpg", "Cat", "train", "train/Cat/1.jpg", sha256="00")]),
    "history.csv": lambda path: write_history(path, [Epoch(1, 1.5, 0.5, 1.25, 0.625, 2.0, 100.0, "head")]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_is_what_it_was(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_every_row_comes_back_from_its_cells() -> None:
    rows = LAYOUT.rows(PREDICTIONS)
    assert [LAYOUT.cells(LAYOUT.row(LAYOUT.cells(row))) for row in rows] == [LAYOUT.cells(row) for row in rows]
    assert [(row.label, row.status) for row in rows] == [("Cat", "ok"), ("", "unsure"), ("", "error")]
    assert rows[2].confidence is None
    for damaged in (LAYOUT.cells(rows[0])[:-1], ["x"] * len(LAYOUT.columns)):
        with pytest.raises(ValueError):
            LAYOUT.row(damaged)


if __name__ == "__main__":
    for name in WRITERS if sys.argv[1:] == ["--write"] else ():
        WRITERS[name](GOLDEN / name)
