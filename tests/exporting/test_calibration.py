"""What int8 takes from training images: ranges and means of the network's values, and biases that undo rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.exporting import artefacts
from toolkit.exporting.calibration import N_SAMPLED, Calibration, Observer, observe
from toolkit.exporting.formats.quantize_onnx import _dequantized, to_int8, with_corrected_biases
from toolkit.exporting.results import Verification


def test_ranges_hold_zero_and_leave_outliers_out_where_they_should() -> None:
    observer = Observer(8)
    rng = np.random.default_rng(0)
    whole = rng.normal(0, 1, (8, 4, 100, 100)).astype(np.float32)
    whole[3, 2, 5, 5] = 1000
    for image in whole:
        observer.add("x", image[None])
        observer.add("positive", np.abs(image[None]) + 1)
        observer.add("still", np.full((1, 4), 2, np.float32))
    low, high = observer.ranges(Calibration.MINMAX)["x"]
    assert (low, high) == (whole.min(), 1000)
    low, high = observer.ranges(Calibration.PERCENTILE)["x"]
    assert (low, high) == pytest.approx(np.percentile(whole, (0.005, 99.995)), rel=0.05)
    for calibration in Calibration:
        assert observer.ranges(calibration)["positive"][0] == 0
        assert observer.ranges(calibration)["still"] == (0, 2)
    assert observer.means()["x"] == pytest.approx(whole.mean((0, 2, 3)), abs=1e-6)


def test_memory_does_not_grow_with_the_images() -> None:
    observer = Observer(400)
    for _ in range(400):
        observer.add("x", np.zeros((1, 4, 64, 64), np.float32))
    assert sum(len(part) for part in observer._seen["x"].sampled) <= 1.1 * N_SAMPLED


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    """A convolution, a depthwise one with a few large weights, a dense layer; made from a seed."""
    rng = np.random.default_rng(0)
    depthwise = rng.normal(0, 0.05, (16, 1, 3, 3)).astype(np.float32)
    depthwise[:, 0, 1, 1] = 3  # makes the steps of the others coarse
    constants = {
        "scale": np.float32(1 / 255),
        "w0": rng.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32),
        "b0": rng.normal(0, 0.1, 16).astype(np.float32),
        "w1": depthwise,
        "b1": rng.normal(0, 0.1, 16).astype(np.float32),
        "w2": rng.normal(0, 0.5, (5, 16)).astype(np.float32),
        "b2": np.zeros(5, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["x0"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x0", "w0", "b0"], ["c0"], "c0", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "c1", pads=[1, 1, 1, 1], kernel_shape=[3, 3], group=16),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["logits"], "dense", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="module")
def images_u8() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), np.uint8)


def _run(
    model: onnx.ModelProto, tensor: str, images_u8: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], {"images": images_u8})[0])


def test_corrected_biases_take_back_what_rounded_weights_do_to_the_means(
    network: onnx.ModelProto, images_u8: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], tmp_path: Path
) -> None:
    observer = observe(network, ["Conv", "Gemm"], images_u8)
    assert set(observer.means()) == {"x0", "c0", "r0", "c1", "f", "logits"}
    *_, (_, int8) = to_int8(network, images_u8)
    rounded = _dequantized(int8)
    assert set(rounded) >= {"w0", "w1", "w2"}

    def with_rounded(model: onnx.ModelProto) -> onnx.ModelProto:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        for tensor in copied.graph.initializer:
            if tensor.name in rounded and tensor.name[0] == "w":
                tensor.CopyFrom(numpy_helper.from_array(rounded[tensor.name].astype(np.float32), tensor.name))
        return copied

    corrected = with_corrected_biases(network, int8, observer.means())
    for layer, allowed in (("c0", 0.3), ("c1", 0.3), ("logits", 0.5)):
        right = _run(network, layer, images_u8)
        axes = (0, 2, 3) if right.ndim == 4 else (0,)
        before = np.abs((_run(with_rounded(network), layer, images_u8) - right).mean(axes)).mean()
        after = np.abs((_run(with_rounded(corrected), layer, images_u8) - right).mean(axes)).mean()
        assert after < allowed * before, layer


def test_each_way_to_calibrate_gives_a_file_near_the_float_one(
    network: onnx.ModelProto, images_u8: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    expected = _run(network, "logits", images_u8)
    seen = []
    for calibration, model in to_int8(network, images_u8):
        seen.append(calibration)
        assert np.abs(_run(model, "probabilities", images_u8).sum(axis=1) - 1).max() < 1e-3
        logits = next(node.input[0] for node in model.graph.node if node.op_type == "Softmax")
        found = _run(model, logits, images_u8)
        assert np.abs(found - expected).max() < 0.15 * np.ptp(expected)
    assert seen == [Calibration.PERCENTILE, Calibration.MINMAX]


def test_the_better_file_has_fewer_misses_then_more_agreement_then_accuracy() -> None:
    def rank(misses: int, agreement: float, accuracy: float | None) -> tuple[int, float, float]:
        both = None if accuracy is None else (accuracy, 0.9)
        names = tuple(str(i) for i in range(misses))
        return artefacts._rank(
            Verification(n_images=9, difference=0.1, agreement=agreement, accuracy=both, limit=None, misses=names)
        )

    assert rank(2, 1, 0.9) < rank(1, 0.9, 0.9) < rank(1, 0.99, 0.7) < rank(0, 0.98, None) < rank(0, 0.98, 0.6)
