"""Classifiers whose graph takes one batch size alone, or whose answers are noisy: adopted, and run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import small
from support.command_line import Cli

import toolkit
from toolkit.adopting.adopt import AdoptOptions, adopt
from toolkit.adopting.comparison import compare
from toolkit.core.errors import MismatchError
from toolkit.sessions.open_session import open_session


def classifier(path: Path, *, batch: int, scale: float = 1.0, seed: int = 0, constants: bool = False) -> Path:
    """A class token of the batch's size is joined to the features, as in a vision transformer of fixed batch."""
    weights = np.random.default_rng(seed).normal(0, scale, (4, 2)).astype(np.float32)
    stored: dict[str, Any] = {
        "token": np.ones((batch, 1), np.float32),
        "weights": weights,
        "shape": np.array([batch, 3]),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
        helper.make_node("Concat", ["token", "features"], ["joined"], axis=1),
        helper.make_node("MatMul", ["joined", "weights"], ["logits"]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    if constants:
        nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors] + nodes
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 24, 24])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2])],
        [] if constants else tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def options(tmp_path: Path, out: str) -> AdoptOptions:
    (tmp_path / "labels.txt").write_text("Cat\nDog\n")
    return AdoptOptions(preset="imagenet", labels=tmp_path / "labels.txt", out=tmp_path / out)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_kept_and_the_last_filled_up(batch: int, tmp_path: Path, run: Cli) -> None:
    source = classifier(tmp_path / "vit.onnx", batch=batch, scale=20)
    result = adopt(source, options(tmp_path, "mine.onnx"))
    assert result.contract.batch == batch
    assert any("images at a time" in note for note in result.notes)
    small.folders(tmp_path / "photos", 5)
    assert run("infer", "photos", "--model", "mine.onnx", "--out", "labels.csv").code == 0
    images = np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3), np.uint8)
    session = open_session(tmp_path / "mine.onnx", device="cpu")
    whole = session.run(images)
    assert np.allclose(whole, np.concatenate([session.run(images[i : i + 1]) for i in range(9)]), atol=1e-6)
    assert toolkit.load(tmp_path / "mine.onnx").predict(images[:3]).best[0] in ("Cat", "Dog")


def test_noise_of_the_original_is_allowed_and_nothing_else(tmp_path: Path) -> None:
    noisy = classifier(tmp_path / "noisy.onnx", batch=1, scale=3000)
    result = adopt(noisy, options(tmp_path, "noisy.adopted.onnx"))
    assert result.agreement == 1.0

    class Steady:
        path = tmp_path / "steady.onnx"
        shapes = type("Shapes", (), {"numbers": "float32", "batch": None})

        def answers(self, images: Any, *, moved: bool = False) -> Any:
            return np.full((len(images), 2), 0.5) + (1e-5 if moved else 0)

    images = np.zeros((12, 24, 24, 3), np.uint8)
    steady: Any = Steady()
    for wrong, refused in ((5e-5, False), (3e-4, True), (0.2, True)):
        answers = np.array([[0.5 + wrong, 0.5 - wrong]], np.float32)
        if refused:
            with pytest.raises(MismatchError):
                compare(steady, lambda batch, a=answers: np.repeat(a, len(batch), 0), images)  # type: ignore[misc]
        else:
            compare(steady, lambda batch, a=answers: np.repeat(a, len(batch), 0), images)  # type: ignore[misc]


def test_weights_in_constants_have_a_fingerprint(tmp_path: Path) -> None:
    found = set()
    for seed in (0, 1):
        source = classifier(tmp_path / f"{seed}.onnx", batch=1, seed=seed, constants=True)
        found.add(adopt(source, options(tmp_path, f"{seed}.adopted.onnx")).contract.fingerprint)
    assert len(found) == 2
