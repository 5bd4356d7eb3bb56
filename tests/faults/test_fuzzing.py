"""Coverage-guided fuzzing of everything that reads bytes from strangers without a library: only errors for users."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_line import ROOT, environment
from support.hostile_files import FILES
from support.mutations import seeds
from support.onnx_networks import contract

from toolkit.training.recipes.recipe import available

RUNS = {"header": 100_000, "contract": 100_000, "flatbuffers": 50_000, "protobuf": 50_000, "recipe": 20_000}
FAST = 1_000


def corpus(reader: str, folder: Path) -> Path:
    """Whole files to begin with."""
    folder.mkdir()
    files: dict[str, bytes] = {}
    if reader == "header":
        files = {str(i): data for i, (_, data) in enumerate(seeds())}
        quick = ("png_declares_more.png", "tiff_many_samples.tif", "webp_canvas_lies.webp", "gif_canvas.gif")
        files |= {name: FILES[name]() for name in quick}
    elif reader == "contract":
        files = {"whole": contract(tuple("abc")).to_json().encode()}
    elif reader == "flatbuffers":
        files = {"tiny": (ROOT / "tests" / "tflite" / "tiny.tflite").read_bytes()}
    elif reader == "protobuf":
        # saved_model.meta_graphs.graph_def: a node, and a function with a node
        node = bytes([0x0A, 9, 0x12, 7]) + b"MatMul!"
        function = bytes([0x12, len(node) + 6, 0x0A, len(node) + 4, 0x1A, len(node)]) + node
        files = {"whole": b"\x12" + bytes([len(node) + len(function) + 2, 0x12, len(node) + len(function)]) + node}
        files["function"] = function
    else:
        files = {path.name: path.read_bytes() for path in available().values()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install atheris")
@pytest.mark.parametrize("size", ["fast", pytest.param("whole", marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", RUNS)
def test_a_fuzzer_finds_nothing(
    record_property: Callable[[str, object], None], reader: str, size: str, tmp_path: Path
) -> None:
    runs = FAST if size == "fast" else RUNS[reader]
    command = [sys.executable, "-m", "support.fuzz", reader, str(runs), "1", str(corpus(reader, tmp_path / "corpus"))]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tried = int(re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)[0])
    assert tried >= runs
    reached = [int(n) for n in re.findall(r"\bcov: (\d+)", done.stderr)]
    assert reached, "the readers were not instrumented"
    assert reached[-1] > reached[0], "no input reached new code"
    record_property("cases", tried)
