"""A pipe, an endless device, a huge file and small files that ask for much: a row each in every command."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import pytest
from support import small
from support.command_line import run_cli
from support.hostile_files import FILES
from support.measured import peak_of

from toolkit.images.spec import Preprocess
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all

HOSTILE = ("png_chunk_of_4_gb.png", "png_declares_more.png", "gif_canvas.gif", "jpeg_scans_small.jpg", "bmp_rle.bmp")


COSTLY = ("webp_flat_6000.webp", "gif_flat_5000.gif", "jpeg_few_scans.jpg", "avif_flat_4000.avif")
"""They are decoded, with 200 to 400 MB each."""

MIXED = (
    *HOSTILE, "jpeg_declares_more.jpg", "jpeg_stuffed.jpg", "jpeg_tiny_segments.jpg", "jpeg_flat_rgb.jpg",
    "tiff_giant_tile.tif", "tiff_lzw_declares_more.tif", "tiff_many_samples.tif", "webp_canvas_lies.webp",
    "webp_flat.webp", "pnm_return.pgm", "pnm_declares_more.ppm", "png_text_bombs.png", "bmp_declares_more.bmp",
)  # fmt: skip


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


def test_evaluate_has_a_row_for_each(hostile: Path, tmp_path: Path) -> None:
    model = small.model(tmp_path / "model.onnx")
    done = run_cli("evaluate", hostile, "--out", "reports", "--model", model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "reports" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 + len(BAD)
    assert {Path(row["path"]).name for row in rows if row["status"] == "error"} == BAD


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not say who holds memory")
def test_a_folder_of_500_hostile_files_stays_within_the_stated_memory(tmp_path: Path) -> None:
    made = tmp_path / "made"
    folder = tmp_path / "photos"
    made.mkdir()
    folder.mkdir()
    for name in (*COSTLY, *MIXED):
        (made / name).write_bytes(FILES[name]())
    # What takes long comes side by side, so that all workers want much at once.
    for i in range(500):
        name = COSTLY[i % len(COSTLY)] if i < 12 else MIXED[i % len(MIXED)]
        os.link(made / name, folder / f"{i:03}_{name}")
    model = small.model(tmp_path / "model.onnx")
    arguments = ["infer", folder, "--out", "labels.csv", "--model", model, "--workers", "8", "--max-memory", "1GB"]
    code, peak = peak_of([sys.executable, "-m", "toolkit", *map(str, arguments)], tmp_path)
    assert code == 0
    assert 300_000_000 < peak < 1_000_000_000
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == sorted(path.name for path in folder.iterdir())
    assert {row["status"] for row in rows[:12]} == {"ok"}
    assert sum(row["status"] == "error" for row in rows) > 300


def test_train_decodes_the_others(hostile: Path, tmp_path: Path) -> None:
    found = decode_all(find_dataset(hostile), Preprocess(height=8, width=8), tmp_path / "cache")
    assert {Path(sample.path).name for sample in found.samples if sample.reason} == BAD
