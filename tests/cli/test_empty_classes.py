"""An empty class folder, and classes whose names differ in case only: a warning everywhere, with --strict an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small
from support.command_line import Cli


@pytest.mark.parametrize(
    "line", [("split", "data", "--out", "parts"), ("check", "data"), ("evaluate", "data", "--model", "model.onnx")]
)
def test_an_empty_class_folder(line: tuple[str, ...], tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "data")
    for path in (tmp_path / "data/Dog").iterdir():
        path.rename(tmp_path / "data/Cat" / f"moved-{path.name}")
    (tmp_path / "data/Emu").mkdir()
    (tmp_path / "data/Emu/1.png").write_bytes(small.png(5))
    small.model(tmp_path / "model.onnx")
    done = run(*line)
    assert "warning: class Dog has no images; it is left out" in done.err
    assert done.code == 0, done.err
    strict = run(*line, "--strict", "--force")
    assert strict.code == 3
    assert "class Dog has no images" in strict.err


@pytest.mark.parametrize("line", [("split", "data", "--out", "parts", "--ratio", "0.5"), ("check", "data")])
def test_names_that_differ_in_case_only(line: tuple[str, ...], tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "data")
    (tmp_path / "data/Dog").rename(tmp_path / "data/cat")
    assert "warning: classes Cat and cat differ in case only" in run(*line).err
    strict = run(*line, "--strict", "--force")
    assert strict.code == 3
    assert "classes Cat and cat differ in case only" in strict.err
