"""A TFLite file whose contract is not what its graph takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_networks import contract

from toolkit.core.errors import ModelError
from toolkit.sessions import tflite_session
from toolkit.sessions.tflite_session import TfliteSession

Details = list[dict[str, Any]]
IMAGES: Details = [{"dtype": np.uint8, "shape": np.array([1, 32, 32, 3])}]
SCORES: Details = [{"dtype": np.float32, "shape": np.array([1, 2])}]


class Graph:
    """What an interpreter says of its file."""

    def __init__(self, inputs: Details, outputs: Details) -> None:
        self.inputs, self.outputs = inputs, outputs

    def get_input_details(self) -> Details:
        return self.inputs

    def get_output_details(self) -> Details:
        return self.outputs


def opened(graph: Graph, path: Path, monkeypatch: pytest.MonkeyPatch) -> TfliteSession:
    path.write_bytes(b"\x1c\0\0\0TFL3")
    monkeypatch.setattr(tflite_session, "read_contract", lambda _: contract())
    monkeypatch.setattr(TfliteSession, "_interpreter", lambda _: graph)
    return TfliteSession(path, threads=1)


def test_the_promised_graph_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(Graph(IMAGES, SCORES), tmp_path / "model.tflite", monkeypatch).contract == contract()


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param([{**IMAGES[0], "dtype": np.float32}], SCORES, id="float input"),
        pytest.param([{**IMAGES[0], "dtype": np.int8}], SCORES, id="int8 input"),
        pytest.param([{**IMAGES[0], "shape": np.array([1, 16, 32, 3])}], SCORES, id="another height"),
        pytest.param([{**IMAGES[0], "shape": np.array([1, 32, 32, 1])}], SCORES, id="grey"),
        pytest.param(IMAGES * 2, SCORES, id="two inputs"),
        pytest.param(IMAGES, [{**SCORES[0], "shape": np.array([1, 3])}], id="three classes for two labels"),
        pytest.param(IMAGES, [{**SCORES[0], "dtype": np.uint8}], id="uint8 output"),
        pytest.param(IMAGES, [], id="no output"),
    ],
)
def test_another_graph_is_refused(
    inputs: Details, outputs: Details, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="the contract promises uint8"):
        opened(Graph(inputs, outputs), tmp_path / "model.tflite", monkeypatch)
