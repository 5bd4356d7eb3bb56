"""Codecs print nothing, and what they say of a damaged image is one line of text: every command, and from Python."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from support import small
from support.command_line import run_cli, run_python
from support.mutations import damaged_lzma_tiff, write

NATIVE = re.compile(r"libpng|JPEG data|Huffman|SOS param|TIFF[A-Z]|RST\d|OpenCV|cv2|\[ *(WARN|ERROR)", re.IGNORECASE)

FROM_PYTHON = """
import ctypes, glob, sys
from pathlib import Path
import toolkit
from toolkit.images.decode import decode
from toolkit.images.header import DecodeError
from toolkit.images.spec import Preprocess
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all

files = sorted(glob.glob("data/*/*"))
errors = [error for error in toolkit.load("model.onnx").predict(files).errors if error]
for path in files:
    try:
        decode(Path(path).read_bytes(), Preprocess(height=9, width=9))
    except DecodeError as error:
        errors.append(error.message)
toolkit.infer("data", "labels.csv", "model.onnx")
toolkit.check("data")
toolkit.split("data")
toolkit.evaluate("data", "model.onnx")
errors += toolkit.load("model.onnx").predict(["lzma.tif"]).errors
found = decode_all(find_dataset(Path("data")), Preprocess(height=9, width=9), Path("cache"))
errors += [sample.reason for sample in found.samples if sample.reason]
assert len(errors) > 100, len(errors)
assert all(error.isprintable() for error in errors), errors
print("Python is heard", file=sys.stderr)
library = ctypes.CDLL(None)
library.fputs(b"C is heard\\n", ctypes.c_void_p.in_dll(library, "stderr"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of damaged images, a good one in each, and a model."""
    folder = tmp_path_factory.mktemp("damaged")
    for seed, label in enumerate(small.LABELS):
        write(folder / "data" / label, 70, seed)
        (folder / "data" / label / "good.png").write_bytes(small.png(seed))
    small.model(folder / "model.onnx")
    return folder


@pytest.mark.parametrize("command", ["infer", "split", "check", "evaluate"])
def test_a_command_prints_only_its_own_lines(command: str, folder: Path) -> None:
    model = ("--model", folder / "model.onnx") if command in ("infer", "evaluate") else ()
    out = folder / (f"{command}.csv" if command in ("infer", "check") else command)
    done = run_cli(command, folder / "data", "--out", out, *model, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not NATIVE.search(done.stderr), done.stderr
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            texts = [row.get("error") or row.get("detail") or "" for row in csv.DictReader(file)]
        assert any(texts)
        assert all(text.isprintable() for text in texts), texts


def test_verbose_shows_what_codecs_say(folder: Path) -> None:
    out = folder / "verbose.csv"
    done = run_cli("infer", folder / "data", "--out", out, "--model", folder / "model.onnx", "--verbose", cwd=folder)
    assert NATIVE.search(done.stderr), done.stderr


def test_from_python_nothing_is_printed_and_others_are_heard(folder: Path) -> None:
    (folder / "lzma.tif").write_bytes(damaged_lzma_tiff())
    done = run_python("-c", FROM_PYTHON, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Python is heard\nC is heard\n"
    assert done.stdout == ""
