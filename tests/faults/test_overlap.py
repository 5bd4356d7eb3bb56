"""A model that is judged by images it was trained on is told apart, by the bytes of the images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli

from toolkit.core.errors import ModelError
from toolkit.core.files import file_digest
from toolkit.model_files.bundle import DataRow, load_bundle, write_data_csv


@pytest.fixture
def bundle(tmp_path: Path, no_plots: None) -> Path:
    """A bundle that was trained on three of four images of each class."""
    photos, folder = small.folders(tmp_path / "photos"), small.bundle(tmp_path / "model")
    small.model(folder / "model.onnx")
    files = sorted(photos.glob("*/*.png"))
    write_data_csv(
        folder / "data.csv",
        [
            DataRow(
                f"{f.parent.name}/{f.name}",
                f.parent.name,
                "train" if f.stem < "3" else "validation",
                "",
                file_digest(f),
            )
            for f in files
        ],
    )
    return folder


def test_the_overlap_is_counted_whatever_the_files_are_called(bundle: Path, run: Cli, tmp_path: Path) -> None:
    for k, label in enumerate(small.LABELS):  # another split of the same images, under other names
        (tmp_path / "other" / "train" / label).mkdir(parents=True)
        (tmp_path / "other" / "validation" / label).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "other" / "validation" / label / f"renamed-{i}.png").write_bytes(small.png(100 * k + i))
        (tmp_path / "other" / "train" / label / "x.png").write_bytes(small.png(500 + k))
    done = run("evaluate", "other", "--model", "model", "--out", "reports")
    assert done.code == 0, done.err
    assert "6 of 8 images are among those that the model was trained on" in done.err
    assert "not trained on" not in done.err
    assert "; toolkit check other lists the copies" in done.err
    metrics = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    assert metrics["data"]["trained_on"] == 6
    assert any("6 of 8" in note for note in metrics["notes"])
    assert "; hold some back: toolkit split photos" in run("evaluate", "photos", "--out", "reports").err


def test_that_there_is_none_is_said_once_it_was_checked(bundle: Path, run: Cli, tmp_path: Path) -> None:
    for k, label in enumerate(small.LABELS):
        (tmp_path / "new" / label).mkdir(parents=True)
        (tmp_path / "new" / label / "0.png").write_bytes(small.png(900 + k))
    assert "none of the images is one that the model was trained on" in run("evaluate", "new", "--out", "a").err
    (bundle / "data.csv").unlink()
    done = run("evaluate", "new", "--out", "b")
    assert "trained on" not in done.err
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["data"]["trained_on"] is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.png", "Cat/../../x.png", "..\\x.png"])
def test_a_bundle_names_no_file_outside_its_data(path: str, bundle: Path) -> None:
    write_data_csv(bundle / "data.csv", [DataRow(path, "Cat", "validation")])
    with pytest.raises(ModelError, match="outside"):
        load_bundle(bundle).samples("validation")
