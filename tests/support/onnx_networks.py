"""ONNX files that keep the contract, made in a moment: untrained, or so simple that their answer can be worked out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolkit.images.decode import Image
from toolkit.images.spec import Colour, Preprocess
from toolkit.model_files.contract import LABELS_KEY, METADATA_KEY, Contract


def contract(labels: tuple[str, ...] = ("Cat", "Dog"), size: int = 32, colour: Colour = Colour.RGB) -> Contract:
    """A contract for square images."""
    return Contract(
        labels=labels, preprocess=Preprocess(height=size, width=size, colour=colour), recipe="made for tests"
    )


def write_mean_network(path: Path, promise: Contract, *, seed: int = 0) -> Path:
    """softmax of a fixed linear map of the mean of each channel: quick, and different for different images."""
    n_classes, channels = len(promise.labels), promise.preprocess.channels
    weights = np.random.default_rng(seed).normal(0, 12, (channels, n_classes)).astype(np.float32)
    return _write(
        path,
        promise,
        [
            helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["values", "scale"], ["scaled"]),
            helper.make_node("ReduceMean", ["scaled", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        {
            "scale": np.float32(1 / 255),
            "axes": np.array([1, 2]),
            "weights": weights - (weights.mean(0) if channels > 1 else 0),
        },
    )


def write_conv_network(
    path: Path, promise: Contract, *, convolutions: tuple[int, ...] = (16, 32, 64), same: bool = True, dense: int = 128
) -> Path:
    """3x3 convolutions with relu and 2x2 max pooling, then two dense layers: the documented networks, untrained."""
    rng = np.random.default_rng(0)
    height, width, channels = promise.preprocess.shape
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, Any] = {"scale": np.float32(1 / 255)}
    pads = [1, 1, 1, 1] if same else [0, 0, 0, 0]
    for i, filters in enumerate(convolutions):
        constants[f"w{i}"] = rng.normal(0, (9 * channels) ** -0.5, (filters, channels, 3, 3)).astype(np.float32)
        constants[f"b{i}"] = rng.normal(0, 0.1, filters).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"c{i}"], pads=pads, kernel_shape=[3, 3]),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
            helper.make_node("MaxPool", [f"r{i}"], [f"x{i + 1}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
        channels = filters
        height, width = ((n if same else n - 2) // 2 for n in (height, width))
    flat = height * width * channels
    sizes = (flat, dense, len(promise.labels))
    nodes.append(helper.make_node("Flatten", [f"x{len(convolutions)}"], ["d0"]))
    for i in (0, 1):
        constants[f"dw{i}"] = rng.normal(0, sizes[i] ** -0.5, sizes[i : i + 2]).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [f"d{i}", f"dw{i}"], [f"m{i}"]))
        nodes.append(helper.make_node(("Relu", "Softmax")[i], [f"m{i}"], [("d1", "probabilities")[i]]))
    return _write(path, promise, nodes, constants)


def write_linear_network(
    path: Path, promise: Contract, images_u8: Image, truth: npt.NDArray[np.int64], *, steps: int = 300
) -> Path:
    """softmax of a linear map of the pixels, fitted in a second: right more often than not, and honestly wrong.

    Args:
        path: where the file goes.
        promise: its contract.
        images_u8: uint8 (N, H, W, C), what it is fitted to.
        truth: int64 (N,), their classes.
        steps: of plain gradient descent with momentum.
    """
    flat = images_u8.reshape(len(images_u8), -1).astype(np.float32) / 255 - 0.5
    target = np.eye(len(promise.labels), dtype=np.float32)[truth]
    weights = np.zeros((flat.shape[1], target.shape[1]), np.float32)
    bias, pace, pace_bias = np.zeros(target.shape[1], np.float32), np.zeros_like(weights), np.float32(0)
    rate = np.float32(20 / np.square(flat).sum(axis=1).mean())
    for _ in range(steps):
        logits = flat @ weights + bias
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        wrong = (exponent / exponent.sum(axis=1, keepdims=True) - target) / len(flat)
        pace = np.float32(0.9) * pace - rate * (flat.T @ wrong)
        pace_bias = np.float32(0.9) * pace_bias - rate * wrong.sum(axis=0)
        weights, bias = weights + pace, bias + pace_bias
    return _write(
        path,
        promise,
        [
            helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["values", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "half"], ["centred"]),
            helper.make_node("Flatten", ["centred"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        {"scale": np.float32(1 / 255), "half": np.float32(0.5), "weights": weights, "bias": bias},
    )


def _write(path: Path, promise: Contract, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *promise.preprocess.shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(promise.labels)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: promise.to_json(), LABELS_KEY: "\n".join(promise.labels)})
    onnx.save(model, path)
    return path
