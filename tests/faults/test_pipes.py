"""A pipe with the name of a file that a command looks for by itself: an error or a row, never a wait without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli

SPLIT = ["split", "photos", "--out", "parts", "--update"]
LABEL = ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"]
BUNDLE = ["infer", "photos", "--model", "bundle", "--out", "other.csv"]
REVIEW = ["review", "labels.csv", "--to", "label-studio"]

CASES: list[tuple[str, list[str], tuple[int, ...]]] = [
    ("photos/metadata.csv", ["check", "photos"], (0,)),
    ("photos/metadata.csv", SPLIT, (0,)),
    ("photos/metadata.csv", LABEL, (0,)),
    ("parts/split.json", SPLIT, (3,)),
    ("parts/split.csv", SPLIT, (3,)),
    ("sorted/sort.csv", ["sort", "labels.csv", "--into", "sorted"], (3,)),
    ("evaluation/metrics.json", ["evaluate", "photos", "--model", "model.onnx"], (3,)),
    ("bundle/bundle.json", ["inspect", "bundle"], (4,)),
    ("bundle/bundle.json", ["evaluate", "photos", "--model", "bundle"], (0, 4)),
    ("bundle/data.csv", ["evaluate", "photos", "--model", "bundle"], (0, 4, 8)),
    ("bundle/model.onnx", BUNDLE, (4,)),
    ("pipe.onnx", ["infer", "photos", "--model", "pipe.onnx", "--out", "other.csv"], (4,)),
    ("pipe.onnx", ["inspect", "pipe.onnx"], (4,)),
    ("pipe.tflite", ["inspect", "pipe.tflite"], (4,)),
    ("pipe.onnx", ["embed", "photos", "--model", "pipe.onnx", "--out", "features.npy"], (4,)),
    ("labels.csv", ["view", "labels.csv"], (3,)),
    ("labels.csv", REVIEW, (3,)),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "command", "codes"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_no_command_waits_for_a_pipe(
    name: str, command: list[str], codes: tuple[int, ...], tmp_path: Path, run: Cli, no_plots: None
) -> None:
    small.folders(tmp_path / "photos")
    small.model(tmp_path / "model.onnx")
    small.model(small.bundle(tmp_path / "bundle") / "model.onnx")
    assert run(*LABEL).code == 0
    if name.startswith("parts"):
        assert run(*SPLIT).code == 0
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = run(*command)
    assert done.code in codes, done.err
    assert "bug" not in done.err


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds."""
    from functools import partial

    from toolkit.evaluation import report, report_page

    monkeypatch.setattr(report, "write_plots", lambda *_: None)
    monkeypatch.setattr(report, "write_page", partial(report_page.write_page, with_plots=False))
