"""Answers on stdout: for people, as CSV and as JSON lines."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import environment, run_cli
from support.onnx_networks import contract, write_mean_network
from support.result_files import write_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, a broken one and notes; the model lies beside them."""
    write_image(tmp_path / "photos/a.png", (250, 20, 20))
    write_image(tmp_path / "photos/b.png", (20, 20, 250))
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "photos/notes.txt").write_text("x")
    write_mean_network(tmp_path / "model.onnx", contract(("Cat", "Dog", "Bird"), 32))
    return tmp_path


def infer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli("infer", *arguments, "--model", "model.onnx", cwd=folder)


def test_one_image_is_one_line(photos: Path) -> None:
    done = infer(photos, "photos/a.png")
    assert (done.returncode, done.stderr) == (0, "")
    name, _, answer = done.stdout.strip().partition(": ")
    assert name == "photos/a.png"
    parts = answer.split(", ")
    assert {part.split()[0] for part in parts} == {"Cat", "Dog", "Bird"}
    shares = [float(part.split()[1]) for part in parts]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert len(infer(photos, "photos/a.png", "--top-k", "1").stdout.split(", ")) == 1


def test_a_folder_is_a_line_a_file_and_a_summary(photos: Path) -> None:
    done = infer(photos, "photos", "--min-confidence", "1")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    sure = infer(photos, "photos").stdout.splitlines()
    assert lines[:2] == [line.replace(".png: ", ".png: unsure: ") for line in sure[:2]]
    assert all(line.count("%") == 3 for line in lines[:2])
    assert lines[2].startswith("photos/broken.jpg: failed: ")
    assert done.stderr == "3 files: unsure 2 · failed 1; passed over: 1 .txt (cpu)\n"


def test_stdout_holds_what_a_file_would(photos: Path) -> None:
    for form in ("csv", "jsonl"):
        assert infer(photos, "photos", "--out", f"labels.{form}").returncode == 0
        done = infer(photos, "photos", "--out", "-", "--format", form)
        assert done.stdout.encode() == (photos / f"labels.{form}").read_bytes().replace(b"\r\n", b"\n")
    assert infer(photos, "photos", "--out", "-").stdout.startswith("path,label,confidence,truth,status")
    assert json.loads(infer(photos, "photos/a.png", "--format", "jsonl").stdout)["status"] == "ok"


def test_what_does_not_go_together(photos: Path) -> None:
    for arguments in (["--update"], ["--html", "x.html"], ["--out", "x.csv", "--format", "csv"]):
        done = infer(photos, "photos", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
    assert infer(photos, "photos/broken.jpg").returncode == 6
    done = infer(photos, "photos", "--exclude", "*.*")
    assert done.returncode == 3
    assert "expected images, found none (passed over: 1 .txt, 3 excluded)" in done.stderr


def test_a_reader_that_has_enough_ends_it(photos: Path) -> None:
    for i in range(300):
        write_image(photos / f"many/{i}.png")
    line = f"{sys.executable} -m toolkit infer many --model model.onnx --out - | head -1"
    done = subprocess.run(line, shell=True, cwd=photos, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("path,label")
    assert "Traceback" not in done.stderr


def test_bars_on_a_terminal(photos: Path) -> None:
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "toolkit", "infer", "photos/a.png", "photos/broken.jpg", "--model", "model.onnx"]
    line += ["--min-confidence", "1"]
    done = subprocess.run(
        line, cwd=photos, env=environment(PYTHONUTF8="1"), stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    text = b""
    while block := _read(ours):
        text += block
    os.close(ours)
    lines = text.decode().splitlines()
    assert lines[0] == "photos/a.png: unsure"
    assert lines[1].rstrip().endswith("%")
    assert "█" in lines[1]
    assert lines[4] == "photos/broken.jpg"
    assert lines[5].startswith("  failed: ")
    assert b"2 files" in done.stderr


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other end is closed
        return b""


def test_a_page_beside_the_table(photos: Path) -> None:
    done = infer(photos, "photos", "--out", "labels.csv", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    page = (photos / "page.html").read_text()
    assert "3 files" in page
    assert page.count("data:image/webp") == 2
