"""A pipe, an endless device, a huge file and small files that ask for much: a row each in every command."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli, run_cli
from support.hostile_files import FILES

from toolkit.images.spec import Preprocess
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all

HOSTILE = ("png_chunk_of_4_gb.png", "png_declares_more.png", "gif_canvas.gif", "jpeg_scans_small.jpg", "bmp_rle.bmp")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Two classes of four good images, and seven files that must not be decoded."""
    data = small.folders(tmp_path / "data")
    first, second = sorted(folder for folder in data.iterdir() if folder.is_dir())
    os.mkfifo(first / "pipe.png")
    (second / "zero.jpg").symlink_to("/dev/zero")
    (second / "huge.tif").touch()
    os.truncate(second / "huge.tif", 5 << 30)
    for name in HOSTILE:
        (first / name).write_bytes(FILES[name]())
    return data


BAD = {"pipe.png", "zero.jpg", "huge.tif", *HOSTILE}


def test_infer_split_and_check_have_a_row_for_each(hostile: Path, tmp_path: Path) -> None:
    model = small.model(tmp_path / "model.onnx")
    assert run_cli("infer", hostile, "--out", "labels.csv", "--model", model, cwd=tmp_path).returncode == 0
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert {name for name, row in rows.items() if row["status"] == "error"} == BAD
    assert run_cli("split", hostile, "--out", "split", cwd=tmp_path).returncode == 0
    with (tmp_path / "split" / "split.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["path"]).name for row in csv.DictReader(file) if not row["subset"]} >= BAD
    assert run_cli("check", hostile, "--out", "findings.csv", cwd=tmp_path).returncode == 0
    with (tmp_path / "findings.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["path"]).name for row in csv.DictReader(file)} >= BAD


def test_evaluate_has_a_row_for_each(hostile: Path, tmp_path: Path, no_plots: None, run: Cli) -> None:
    model = small.model(tmp_path / "model.onnx")
    done = run("evaluate", hostile, "--out", "reports", "--model", model)
    assert done.code == 0, done.err
    with (tmp_path / "reports" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 + len(BAD)
    assert {Path(row["path"]).name for row in rows if row["status"] == "error"} == BAD


def test_train_decodes_the_others(hostile: Path, tmp_path: Path) -> None:
    found = decode_all(find_dataset(hostile), Preprocess(height=8, width=8), tmp_path / "cache")
    assert {Path(sample.path).name for sample in found.samples if sample.reason} == BAD
