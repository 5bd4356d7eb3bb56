"""The model folder: written, read back, and refused where it is not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from toolkit.core.errors import InputError, ModelError
from toolkit.images.spec import Preprocess
from toolkit.model_files.bundle import (
    BUNDLE_JSON,
    Bundle,
    DataRow,
    load_bundle,
    weights_fingerprint,
    write_bundle_json,
    write_check,
    write_data_csv,
)
from toolkit.model_files.contract import Contract
from toolkit.training import workspace as bundle_folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "model"
    contract = Contract(
        labels=("Cat", "한글"), preprocess=Preprocess(height=4, width=6), recipe="small", fingerprint="ab"
    )
    bundle = Bundle(path=folder, contract=contract, recipe_name="small", n_parameters=7, data={"root": "/photos"})
    rows = [DataRow("Cat/caf\udce9.jpg", "Cat", "train"), DataRow("한글/a\nb.png", "한글", "validation")]
    write_data_csv(folder / "data.csv", [*rows, DataRow("Cat/bad.jpg", "Cat", "left_out", "empty: no bytes")])
    write_check(folder / "check.npz", np.full((3, 4, 6, 3), 200, np.uint8), np.full((3, 2), 0.5, np.float32))
    write_bundle_json(bundle)
    return bundle


def test_reads_back_what_was_written(bundle: Bundle) -> None:
    read = load_bundle(bundle.path)
    assert read == bundle
    images, probabilities = read.check()
    assert images.shape == (3, 4, 6, 3)
    assert probabilities.dtype == np.float32
    assert [s.path for s in read.samples("train")] == [Path("/photos/Cat/caf\udce9.jpg")]
    assert [(s.path, s.label) for s in read.samples("validation")] == [(Path("/photos/한글/a\nb.png"), "한글")]
    assert [row.reason for row in read.rows()] == ["", "", "empty: no bytes"]
    assert sorted(p.name for p in bundle.path.iterdir()) == ["bundle.json", "check.npz", "data.csv"]


def test_a_folder_without_bundle_json_is_no_bundle(bundle: Bundle) -> None:
    (bundle.path / BUNDLE_JSON).unlink()
    with pytest.raises(ModelError, match="not a bundle") as caught:
        load_bundle(bundle.path)
    assert "toolkit train" in caught.value.hint
    with pytest.raises(ModelError, match="found nothing"):
        load_bundle(bundle.path / "nowhere")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 2}', '{"schema": 1}', "\x00"])
def test_a_damaged_bundle_json_is_a_model_error(bundle: Bundle, text: str) -> None:
    (bundle.path / BUNDLE_JSON).write_text(text)
    with pytest.raises(ModelError, match=r"bundle\.json"):
        load_bundle(bundle.path)


def test_every_field_is_checked_for_its_type(bundle: Bundle) -> None:
    fields = json.loads((bundle.path / BUNDLE_JSON).read_text())
    for name in set(fields) - {"schema"}:
        (bundle.path / BUNDLE_JSON).write_text(json.dumps(fields | {name: None}))
        with pytest.raises(ModelError, match=name):
            load_bundle(bundle.path)


def test_check_images_must_fit_the_contract(bundle: Bundle) -> None:
    path = bundle.path / "check.npz"
    write_check(path, np.zeros((3, 5, 6, 3), np.uint8), np.zeros((3, 2), np.float32))
    with pytest.raises(ModelError, match="expected uint8"):
        bundle.check()
    write_check(path, np.zeros((3, 4, 6, 3), np.uint8), np.zeros((3, 1), np.float32))
    with pytest.raises(ModelError, match="probabilities"):
        bundle.check()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match="not readable"):
        bundle.check()
    path.unlink()
    with pytest.raises(ModelError, match="missing"):
        bundle.check()


def test_the_fingerprint_sees_values_shapes_and_order() -> None:
    a, b = np.zeros((2, 3), np.float32), np.ones(4, np.float32)
    prints: list[list[npt.NDArray[Any]]] = [
        [a, b],
        [b, a],
        [a, b + 1],
        [a.reshape(3, 2), b],
        [a.astype(np.float64), b],
        [a],
    ]
    assert len({weights_fingerprint(weights) for weights in prints}) == len(prints)
    assert weights_fingerprint([a, b]) == weights_fingerprint([a.copy(), b.copy()])


def test_folders_beside_the_bundle_that_no_training_made_stay(tmp_path: Path) -> None:
    partial, out = tmp_path / "model.partial", tmp_path / "model"
    for folder, name in ((partial, "mine.txt"), (tmp_path / "model.old", "weights-of-last-week"), (out, "old")):
        folder.mkdir()
        (folder / name).write_text("precious")
    with pytest.raises(InputError, match="something else"):
        bundle_folder.prepare(partial, {}, resume=False, force=True)
    new = tmp_path / "new"
    new.mkdir()
    (new / "fresh").write_text("x")
    bundle_folder.publish(new, out)
    assert {p.name for p in out.iterdir()} == {"fresh", "old"}  # what no training made moves into the new bundle
    assert (out / "old").read_text() == "precious"
    assert (partial / "mine.txt").read_text() == "precious"
    assert (tmp_path / "model.old" / "weights-of-last-week").read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"model", "model.old", "model.partial"}
