"""int8 files: what stays float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from toolkit.exporting.formats.quantize_onnx import to_int8


def two_class_network(size: int = 8) -> onnx.ModelProto:
    """p = sigmoid of a linear map of the pixels; probabilities [1 - p, p]."""
    constants = {
        "scale": np.float32(1 / 255),
        "one": np.float32(1),
        "w": np.full((size * size * 3, 1), 8 / (size * size * 3), np.float32),
        "b": np.array([-4], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"], "scale"),
        helper.make_node("Flatten", ["scaled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], "dense"),
        helper.make_node("Sigmoid", ["logits"], ["p"], "sigmoid"),
        helper.make_node("Sub", ["one", "p"], ["q"], "rest"),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], "both", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_probabilities_are_not_cut_to_those_of_the_calibration_images() -> None:
    rng = np.random.default_rng(0)
    model = two_class_network()
    calibration = rng.integers(100, 160, (40, 8, 8, 3)).astype(np.uint8)
    calibration[0, 0, 0], calibration[0, 0, 1] = 0, 255
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 20, 128, 240, 255)])

    def run(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, {"images": images})[0]
        return found

    expected = run(model.SerializeToString())
    for _, quantized in to_int8(model, calibration):
        assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}
        found = run(quantized.SerializeToString())
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(found, expected, atol=0.03)
        assert found[0, 0] > 0.97
        assert found[-1, 1] > 0.97
