"""What most tests of faults begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: four photos of two classes, and a model."""
    small.folders(tmp_path / "photos", 2)
    small.model(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path
