"""A pipe with the name of a file that a command looks for by itself: an error or a row, never a wait without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli
from support.result_files import row, write_table

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
    ("labels.csv", ["merge", "labels.csv", "--out", "merged.csv"], (3,)),
    ("labels/part-00009-of-00010.parquet", [*LABEL[:-1], "labels/"], (3,)),
    ("labels/_manifest.json", [*LABEL[:-1], "labels/"], (3,)),
    ("other.json", [*LABEL[:-1], "other.csv", "--detections", "other.json"], (3,)),
    ("table.csv", ["split", "photos", "--labels", "table.csv"], (3,)),
    ("export.json", ["review", "labels.csv", "--from", "label-studio", "--file", "export.json"], (3,)),
    ("classes.txt", ["review", "labels.csv", "--labels", "classes.txt", "--no-browser"], (3,)),
    ("corrections.csv", ["review", "labels.csv", "--no-browser"], (3,)),
    ("mine.toml", ["recipe", "show", "mine.toml"], (4,)),
    ("mine.toml", ["train", "photos", "--recipe", "mine.toml"], (4,)),
    ("lite0.pth", ["train", "photos", "--weights", "lite0.pth"], (8,)),
    ("features.rows.csv", ["embed", "features.npy", "--like", "photos/Cat/0.png", "--model", "model.onnx"], (3,)),
    ("features.npy", ["embed", "photos", "--model", "model.onnx", "--out", "features.npy"], (3,)),
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
    (tmp_path / "features.npy").write_bytes(b"features")
    if name.startswith("parts"):
        assert run(*SPLIT).code == 0
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = run(*command)
    assert done.code in codes, done.err
    assert "bug" not in done.err


@pytest.mark.parametrize(
    "command",
    [
        [*LABEL[:-1], "other.csv", "--detections", "/dev/zero"],
        ["split", "photos", "--labels", "/dev/zero"],
        ["review", "labels.csv", "--labels", "/dev/zero", "--no-browser"],
        ["review", "labels.csv", "--from", "label-studio", "--file", "/dev/zero"],
        ["recipe", "show", "/dev/zero"],
        ["train", "photos", "--weights", "/dev/zero"],
        ["infer", "photos", "--model", "/dev/zero", "--out", "other.csv"],
        ["adopt", "/dev/zero", "--preset", "imagenet", "--labels", "labels.csv"],
        ["embed", "/dev/zero", "--like", "/dev/zero", "--model", "model.onnx"],
    ],
    ids=lambda command: f"{command[0]} {command[-2]}",
)
def test_no_command_reads_a_device_without_end(command: list[str], tmp_path: Path) -> None:
    small.folders(tmp_path / "photos", 1)
    small.model(tmp_path / "model.onnx")
    write_table(tmp_path / "labels.csv", [row("photos/Cat/0.png", "Cat", 0.9)])
    two_gigabytes = "import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); "
    script = f"{two_gigabytes}sys.argv[0] = 'toolkit'; runpy.run_module('toolkit', run_name='__main__')"
    done = small.python(script, *command, cwd=tmp_path)
    assert done.returncode in (2, 3, 4, 8), done.stderr
    assert "not enough memory" not in done.stderr
    assert "/dev/zero" in done.stderr
