"""Weights that are rounded together: what a convolution sees, and that its sums move less than with nearest steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from toolkit.exporting.formats.onnx_weights import _window as onnx_window
from toolkit.exporting.formats.onnx_weights import rounded_together, with_weights
from toolkit.exporting.formats.tflite_int8.file import (
    CONV,
    Layer,
    activations,
    dequantized,
    read,
    stored,
    weighted_layers,
)
from toolkit.exporting.formats.tflite_int8.weights import layer_moments, with_weights_rounded_together
from toolkit.exporting.formats.weight_rounding import Window, moments, rounded, same_padding
from toolkit.exporting.serving_graph import INPUT

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 5), st.integers(1, 12))
def test_steps_are_within_the_limit_and_the_nearest_where_nothing_is_seen_together(
    seed: int, groups: int, outputs: int, depth: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (groups, outputs, depth))
    scales = np.abs(weights).max(axis=2) / 63
    diagonal = np.stack([np.diag(rng.uniform(0.5, 2, depth)) for _ in range(groups)])
    nearest = np.rint(weights / scales[:, :, None])
    assert (rounded(weights, scales, diagonal, 64) == nearest).all()
    values = rng.normal(0, 1, (groups, 200, depth)) @ rng.normal(0, 1, (groups, depth, depth))
    steps = rounded(weights, scales, values.transpose(0, 2, 1) @ values, 64)
    assert np.abs(steps.astype(int)).max() <= 64
    assert rounded(weights * 0, scales * 0, diagonal, 64).any() == 0


def test_sums_of_what_is_seen_together_move_less() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (3000, 32)) @ rng.normal(0, 1, (32, 32))
    weights = rng.normal(0, 1, (1, 8, 32))
    scales = np.abs(weights).max(axis=2) / 31
    steps = rounded(weights, scales, (values.T @ values)[None], 31)

    def moved(found: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float(np.square(values @ (weights - found * scales[:, :, None])[0].T).mean())

    assert moved(steps.astype(np.float64)) < 0.6 * moved(np.rint(weights / scales[:, :, None]))


@given(
    st.integers(0, 1000),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from([(1, 1), (1, 4), (4, 4)]),
)
def test_moments_are_those_of_what_the_convolution_sees(
    seed: int, kernel: tuple[int, int], strides: tuple[int, int], channels: tuple[int, int]
) -> None:
    """By the convolution itself: the mean square of its output is w M w, over the same positions."""
    groups, n_channels = channels
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (6, 2, 3, n_channels)).astype(np.float32)
    places = [same_padding(*axis, 1) for axis in zip((2, 3), kernel, strides, strict=True)]
    before, size = zip(*places, strict=True)
    window = Window(kernel, strides, (1, 1), before, size, groups)
    each = n_channels // groups
    weights = rng.normal(0, 1, (*kernel, each, groups))  # one output a group
    found = np.zeros(groups)
    for _ in range(10):
        moment = moments(values, window, rng)
        flat = weights.reshape(-1, groups).T
        found += np.einsum("gd,gde,ge->g", flat, moment, flat) / 10
    right = [
        np.square(
            tf.nn.conv2d(
                values[..., g * each : (g + 1) * each], weights[..., g : g + 1].astype(np.float32), strides, "SAME"
            )
        ).mean()
        for g in range(groups)
    ]
    assert moment.shape == (groups, window.width(n_channels), window.width(n_channels))
    np.testing.assert_allclose(found, right, rtol=0.25, atol=1e-3)


def _onnx(groups: int, attributes: dict[str, Any]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = {
        "w0": rng.normal(0, 0.1, (16, 3, 3, 3)),
        "b0": rng.normal(0, 1, 16),
        "w1": rng.normal(0, 1, (16, 16 // groups, 3, 3)),
        "b1": np.zeros(16),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["x0"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x0", "w0", "b0"], ["c0"], "c0", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "c1", kernel_shape=[3, 3], group=groups, **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("c1", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 1, 1, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"dilations": [2, 1], "pads": [0, 1, 2, 1]},
    ],
)
def test_an_onnx_convolution_moves_less(groups: int, attributes: dict[str, Any]) -> None:
    model = _onnx(groups, attributes)
    images_u8 = np.random.default_rng(1).integers(0, 256, (32, 16, 16, 3), np.uint8)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def answers(changed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Any:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        for tensor in copied.graph.initializer:
            if tensor.name in changed:
                tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name].astype(np.float32), tensor.name))
        session = onnxruntime.InferenceSession(copied.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {INPUT: images_u8})[0]

    scales = {name: np.abs(weights[name]).max(axis=(1, 2, 3)) / 15 for name in ("w0", "w1")}
    nearest = {name: np.rint(weights[name] / scale[:, None, None, None]) for name, scale in scales.items()}
    int8 = onnx.ModelProto()
    for name, scale in scales.items():
        int8.graph.initializer.append(numpy_helper.from_array(nearest[name].astype(np.int8), f"{name}_quantized"))
        int8.graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
    steps = rounded_together(model, int8, images_u8)
    assert set(steps) == {"w0_quantized", "w1_quantized"}
    assert {name: values.shape for name, values in steps.items()} == {
        f"{name}_quantized": weights[name].shape for name in scales
    }
    placed = {t.name: numpy_helper.to_array(t) for t in with_weights(int8, steps).graph.initializer}
    assert all((placed[name] == values).all() for name, values in steps.items())
    right = answers({})
    together = {name: steps[f"{name}_quantized"] * scale[:, None, None, None] for name, scale in scales.items()}
    apart = {name: nearest[name] * scale[:, None, None, None] for name, scale in scales.items()}
    for name in scales:
        before, after = (np.square(answers({name: found[name]}) - right).mean() for found in (apart, together))
        assert after < 0.95 * before, (name, before, after)


def test_convolutions_that_are_not_understood_are_left_as_they_are() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER")
    assert onnx_window(node, (4, 3, 3, 3), (1, 8, 8, 3)) is None
    assert onnx_window(helper.make_node("Conv", ["x", "w"], ["y"]), (4, 3, 3), (1, 8, 3)) is None
    window = onnx_window(helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="VALID"), (4, 3, 3, 3), (1, 8, 8, 3))
    assert window is None


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_tflite_convolutions_move_less() -> None:
    from toolkit.exporting import serving_graph
    from toolkit.exporting.calibration import Calibration
    from toolkit.exporting.formats import to_tflite
    from toolkit.exporting.formats.tflite_int8.quantize import in_integers
    from toolkit.images.spec import Preprocess
    from toolkit.model_files.contract import Contract
    from toolkit.model_files.conventions import Output, Values

    layers = [
        keras.Input((16, 16, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu"),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        keras.layers.Conv2D(8, 1, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, activation="softmax"),
    ]
    keras.utils.set_random_seed(0)
    contract = Contract(labels=tuple("abcd"), preprocess=Preprocess(height=16, width=16))
    network = serving_graph.build(keras.Sequential(layers), contract, Values.BYTES, Output.PROBABILITIES)
    images_u8 = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), np.uint8)
    int8 = in_integers(network, to_tflite.calibrated(network, images_u8), Calibration.MINMAX, images_u8)
    exact = to_tflite.convert(network, None, takes_float=True)
    together = with_weights_rounded_together(int8, exact, layer_moments(exact, images_u8))
    plain, *files = (read(content) for content in (exact, int8, together))
    layers_of = [weighted_layers(model)[:3] for model in (plain, *files)]
    (seen,) = activations(exact, [layer.source for layer in layers_of[0]], images_u8[:8])
    for of_plain, *others in zip(*layers_of, strict=True):
        weights = stored(plain, plain.subgraphs[0].tensors[of_plain.weight], np.float32)
        squares = []
        for model, layer in zip(files, others, strict=True):
            lost = weights - dequantized(model, model.subgraphs[0].tensors[layer.weight])
            squares.append(float(np.square(_convolved(of_plain, seen[of_plain.source], lost)).mean()))
        assert squares[1] < 0.9 * squares[0], of_plain.kind


def _convolved(layer: Layer, values: Floats, weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Floats:
    """What TensorFlow makes of weights as they are laid in a TFLite file."""
    padding = "SAME" if layer.options.padding == 0 else "VALID"
    strides = [1, layer.options.strideH, layer.options.strideW, 1]
    if layer.kind == CONV:
        return np.asarray(tf.nn.conv2d(values, weights.transpose(1, 2, 3, 0).astype(np.float32), strides, padding))
    kernel = weights.reshape(*weights.shape[1:3], values.shape[3], -1).astype(np.float32)
    return np.asarray(tf.nn.depthwise_conv2d(values, kernel, strides, padding))
