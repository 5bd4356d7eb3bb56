"""The weights of an int8 ONNX file, rounded together (see `weight_rounding`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolkit.exporting.calibration import activations
from toolkit.exporting.formats.weight_rounding import N_IMAGES, WIDEST, Array, Window, moments, rounded, same_padding
from toolkit.exporting.serving_graph import Images

Steps = Mapping[str, npt.NDArray[np.int8]]
"""Name of a tensor of an int8 file -> its values."""


def rounded_together(model: onnx.ModelProto, int8: onnx.ModelProto, images_u8: Images) -> Steps:
    """The int8 weights of the convolutions.

    Args:
        model: the float32 graph.
        int8: the same in int8, each weight rounded to its nearest step; its scales stay as they are.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    layers = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and f"{node.input[1]}_quantized" in known and f"{node.input[1]}_scale" in known
    ]
    found: dict[str, npt.NDArray[np.int8]] = {}
    if not layers:
        return found
    for name, moment in _moments(model, layers, weights, images_u8[:N_IMAGES]).items():
        if not np.isfinite(moment).all():
            continue
        scales = known[f"{name}_scale"].astype(np.float64)
        nearest, weight = known[f"{name}_quantized"], np.moveaxis(weights[name], 1, -1)
        grouped = weight.reshape(len(moment), -1, moment.shape[1])
        scales = np.broadcast_to(scales.ravel(), len(weight)).reshape(grouped.shape[:2])
        steps = rounded(grouped, scales, moment, int(np.abs(nearest.astype(np.int64)).max()))
        found[f"{name}_quantized"] = np.ascontiguousarray(np.moveaxis(steps.reshape(weight.shape), -1, 1))
    return found


def with_weights(int8: onnx.ModelProto, steps: Steps) -> onnx.ModelProto:
    """The int8 file with other weights."""
    for tensor in int8.graph.initializer:
        if tensor.name in steps:
            tensor.CopyFrom(numpy_helper.from_array(steps[tensor.name], tensor.name))
    return int8


def _moments(
    model: onnx.ModelProto, layers: list[onnx.NodeProto], weights: Mapping[str, npt.NDArray[Any]], images_u8: Images
) -> dict[str, Array]:
    """Name of the weights of each convolution that can be rounded so -> second moments of what they see."""
    rng = np.random.default_rng(0)
    sums: dict[str, Array] = {}
    for values in activations(model, sorted({node.input[0] for node in layers}), images_u8):
        for node in layers:
            seen = np.moveaxis(values[node.input[0]], 1, -1)
            window = _window(node, weights[node.input[1]].shape, seen.shape)
            if window is not None and window.width(seen.shape[3]) <= WIDEST:
                sums[node.input[1]] = sums.get(node.input[1], 0) + moments(seen, window, rng)
    return sums


def _window(node: onnx.NodeProto, weights: tuple[int, ...], seen: tuple[int, ...]) -> Window | None:
    """What a `Conv` node looks at in an input (N, H, W, C); None where it is not of two dimensions."""
    if len(weights) != 4:
        return None
    known = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    strides, dilations, pads = (
        known.get(name, usual) for name, usual in (("strides", [1, 1]), ("dilations", [1, 1]), ("pads", [0, 0, 0, 0]))
    )
    axes = list(zip(seen[1:3], weights[2:], strides, dilations, strict=True))
    automatic = known.get("auto_pad", b"NOTSET")
    if automatic == b"SAME_UPPER":
        places = [same_padding(*axis) for axis in axes]
    elif automatic == b"NOTSET":
        places = [
            (pads[i], (size + pads[i] + pads[i + 2] - (kernel - 1) * dilation - 1) // stride + 1)
            for i, (size, kernel, stride, dilation) in enumerate(axes)
        ]
    else:
        return None
    before, size = zip(*places, strict=True)
    return Window(
        kernel=(weights[2], weights[3]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        before=before,
        size=size,
        groups=known.get("group", 1),
    )
