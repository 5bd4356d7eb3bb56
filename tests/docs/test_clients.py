"""The clients of docs/edge.md give the probabilities that `toolkit infer` gives for the same pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_line import ROOT, run_cli
from support.onnx_networks import contract, write_conv_network
from support.pages import blocks

from toolkit.images.decode import encode_png
from toolkit.model_files.contract_io import labels_text

PAGE = ROOT / "docs" / "edge.md"


def client(language: str) -> str:
    (block,) = [block for block in blocks(PAGE) if block.language == language]
    return block.text


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A folder with a model, its labels, and raw pixels of its size."""
    promise = contract()
    write_conv_network(tmp_path / "model.onnx", promise)
    (tmp_path / "labels.txt").write_text(labels_text(promise))
    spec = promise.preprocess
    pixels = np.random.default_rng(3).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    (tmp_path / "photo.rgb").write_bytes(pixels.tobytes())
    (tmp_path / "photo.png").write_bytes(encode_png(pixels))
    return tmp_path


def check(done: subprocess.CompletedProcess[str], device: Path) -> None:
    """The client's answer is that of `toolkit infer`."""
    assert done.returncode == 0, done.stderr
    row = run_cli("infer", "photo.png", "--model", "model.onnx", "--out", "-", cwd=device).stdout.splitlines()[1]
    label, probability = done.stdout.split()
    assert label == row.split(",")[1]
    assert abs(float(probability) - float(row.split(",")[2])) < 1e-5


def run(command: list[str | Path], device: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=device, capture_output=True, text=True, check=False)


def test_python(device: Path) -> None:
    (device / "client.py").write_text(client("python"))
    check(run([sys.executable, "client.py", "photo.rgb"], device), device)


@pytest.mark.slow
def test_cpp(device: Path) -> None:
    openvino = pytest.importorskip("openvino")
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    (device / "client.cpp").write_text(client("cpp"))
    package = Path(openvino.__file__).parent
    (line,) = [line for block in blocks(PAGE) for line in block.lines if line.startswith("g++ ")]
    done = run(["bash", "-ec", f"OPENVINO={package}\n{line}\n./client photo.rgb"], device)
    check(done, device)


@pytest.mark.slow
def test_javascript(device: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "CI=true, but there is no node with npm"
        pytest.skip("no node with npm on this machine")
    (device / "client.mjs").write_text(client("javascript"))
    run(["npm", "install", "--no-audit", "--no-fund", "onnxruntime-web"], device)
    check(run(["node", "client.mjs", "photo.rgb"], device), device)
