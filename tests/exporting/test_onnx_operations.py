"""Layers that TensorFlow builds from more than ONNX knows."""

from __future__ import annotations

import keras
import numpy as np
import onnxruntime
import pytest

from toolkit.core.errors import ModelError
from toolkit.exporting import serving_graph
from toolkit.exporting.formats import to_onnx
from toolkit.exporting.formats.quantize_onnx import to_int8
from toolkit.exporting.serving_graph import Network
from toolkit.images.spec import Preprocess
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, Values

IMAGES_U8 = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)


def _network(*layers: keras.layers.Layer) -> Network:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    contract = Contract(labels=tuple("abcd"), preprocess=Preprocess(height=16, width=16))
    return serving_graph.build(model, contract, Values.BYTES, Output.PROBABILITIES)


def test_gelu_groups_and_a_normalization_that_holds_its_numbers() -> None:
    network = _network(
        keras.layers.Normalization(mean=[120.0, 110, 100], variance=[60.0**2, 50**2, 70**2]),
        keras.layers.Conv2D(12, 3, groups=3, activation="gelu", padding="same"),
        keras.layers.Conv2D(8, 3, strides=2, activation="gelu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, activation="softmax"),
    )
    model = to_onnx.convert(network, 17)
    expected = network.predict(IMAGES_U8)
    for found, tolerance in ((model, 1e-6), *((file, 0.02) for _, file in to_int8(model, IMAGES_U8))):
        session = onnxruntime.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
        assert [given.name for given in session.get_inputs()] == ["images"]
        (answers,) = session.run(None, {"images": IMAGES_U8})
        assert np.abs(answers - expected).max() < tolerance


def test_an_operation_that_onnx_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network(keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax"))
    monkeypatch.setattr(to_onnx, "_is_known", lambda node, _: node.op_type != "Softmax")
    with pytest.raises(ModelError, match="ONNX has no Softmax") as caught:
        to_onnx.convert(network, 17)
    assert "--tflite" in str(caught.value.hint)
