"""A model file whose graph is not what its contract says ends with exit code 4, and no row is written from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import onnx_networks, small
from support.command_line import Cli

import toolkit
from toolkit.core.errors import ModelError
from toolkit.model_files.contract import METADATA_KEY, Contract
from toolkit.model_files.onnx_io import embed
from toolkit.sessions.checked_session import CheckedSession
from toolkit.sessions.open_session import open_session

SIZE = 32


def write(
    path: Path, nodes: list[Any], constants: dict[str, Any], *, n: str | int = "N", k: int | str | None = 2
) -> Path:
    """A graph from `images` to `probabilities` with the contract of two classes."""
    graph = helper.make_graph(
        nodes,
        "made for tests",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [n, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None if k is None else ["M", k])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    embed(model, onnx_networks.contract(small.LABELS, SIZE))
    onnx.save(model, path)
    return path


def means(scale: float) -> tuple[list[Any], dict[str, Any]]:
    """(N, 2): the mean of the image times `scale`, twice."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "weights"], ["probabilities"]),
    ]
    return nodes, {"axes": np.array([1, 2, 3]), "one": np.array([1]), "weights": np.full((1, 2), scale, np.float32)}


def one_row() -> tuple[list[Any], dict[str, Any]]:
    """(1, 2) for any number of images."""
    return [helper.make_node("Identity", ["row"], ["probabilities"])], {"row": np.array([[0.5, 0.5]], np.float32)}


def stops() -> tuple[list[Any], dict[str, Any]]:
    """Fails while it runs."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["values", "shape"], ["probabilities"]),
    ]
    return nodes, {"shape": np.array([7, 2])}


@pytest.mark.parametrize(
    ("graph", "k"),
    [
        (means(1.0), 2),
        (means(-1.0), 2),
        (means(0.001), 2),
        (one_row(), 2),
        (one_row(), None),
        (stops(), 2),
        (one_row(), 5),
    ],
    ids=["large", "negative", "sums to little", "one row for all", "no shape", "stops", "another width"],
)
def test_infer_ends_with_exit_code_4(graph: Any, k: int | None, tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "photos")
    write(tmp_path / "model.onnx", *graph, k=k)
    done = run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv")
    assert done.code == 4, done.err
    assert "model.onnx" in done.err
    assert "bug" not in done.err
    assert not (tmp_path / "labels.csv").exists()
    with pytest.raises(ModelError):
        toolkit.load(tmp_path / "model.onnx").predict([tmp_path / "photos" / "Cat" / "0.png"] * 3)


def test_a_graph_of_one_batch_size_runs_in_it(tmp_path: Path) -> None:
    free = onnx_networks.write_mean_network(tmp_path / "free.onnx", onnx_networks.contract(small.LABELS))
    model = onnx.load(free)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    old = Contract.from_json(next(p.value for p in model.metadata_props if p.key == METADATA_KEY))
    embed(model, old)
    onnx.save(model, tmp_path / "unsaid.onnx")
    embed(model, Contract(labels=old.labels, preprocess=old.preprocess, batch=4))
    onnx.save(model, tmp_path / "fixed.onnx")
    images = np.random.default_rng(0).integers(0, 256, (9, *old.preprocess.shape), np.uint8)
    expected = open_session(free, device="cpu").run(images)
    for n in (1, 3, 4, 5, 9):
        assert np.array_equal(open_session(tmp_path / "fixed.onnx", device="cpu").run(images[:n]), expected[:n])
    with pytest.raises(ModelError, match="contract promises"):
        open_session(tmp_path / "unsaid.onnx", device="cpu")


class Answers:
    """A session that gives what it is told to."""

    contract = onnx_networks.contract(small.LABELS)
    device, note, fingerprint, arithmetic, n_bytes, may_fork = "cpu", "", "", "", 0, True

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, _images: Any) -> Any:
        return np.asarray(self.answer, np.float32)


@pytest.mark.parametrize(
    "answer",
    [[[0.5, 0.5]], [[1.0, 0.0, 0.0]] * 2, [0.5, 0.5], [[0.7, 0.5]] * 2, [[1.5, -0.5]] * 2, [[0.5, 0.5], [212.5, 0]]],
)
def test_what_is_no_probability_is_refused(answer: Any) -> None:
    with pytest.raises(ModelError, match="breaks its contract"):
        CheckedSession(Answers(answer), Path("m.onnx")).run(np.zeros((2, 32, 32, 3), np.uint8))


def test_a_row_without_a_number_is_an_error_of_its_image() -> None:
    found = CheckedSession(Answers([[np.nan, np.nan], [0.25, 0.75]]), Path("m.onnx"))
    model = toolkit.Model(found)
    predictions = model.predict([np.zeros((32, 32, 3), np.uint8)] * 2)
    assert predictions.best == (None, "Dog")
    assert [bool(error) for error in predictions.errors] == [True, False]


def test_a_broken_image_never_has_a_label(tmp_path: Path) -> None:
    for name, data in (("empty.png", b""), ("torn.png", small.png(1)[:40]), ("whole.png", small.png(1))):
        (tmp_path / name).write_bytes(data)
    names = ["empty.png", "torn.png", "whole.png", "missing.png"]
    found = toolkit.load(small.model(tmp_path / "model.onnx")).predict([tmp_path / name for name in names])
    assert [label is None for label in found.best] == [True, True, False, True]
    assert [bool(error) for error in found.errors] == [True, True, False, True]
    assert np.isnan(found.probabilities).all(axis=1).tolist() == [True, True, False, True]
