"""Smaller ONNX files: float16, and int8 as static QDQ."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolkit.exporting.calibration import Calibration, Means, Ranges, observe
from toolkit.exporting.formats.onnx_weights import rounded_together, with_weights
from toolkit.exporting.serving_graph import Images

# What an edge runtime computes in integers. Scaling before it and softmax or sigmoid behind it stay float32.
_INTEGER: Final = [
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Concat", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Transpose", "Squeeze", "Pad"),
]
_LAYERS: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph computed in float16; uint8 in and float32 out stay."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for float16 become the smallest one; verification decides
        converted: onnx.ModelProto = convert_float_to_float16(copied, keep_io_types=True)
    return converted


def to_int8(model: onnx.ModelProto, images_u8: Images) -> Iterator[tuple[Calibration, onnx.ModelProto]]:
    """Weights and activations in int8, weights per output channel; one file for each way to choose the ranges.

    Weights take 7 bits of the 8: x86-64 without VNNI adds two products in 16 bits, and with 8 bits that saturates, so
    that a file that is right on one processor is wrong on the next. They are rounded together, which makes up for the
    bit. Activations are unsigned, which is what x86-64 multiplies with. The logits are not rounded: 256 steps of them
    are too few for softmax. Rounding moves the mean of a channel; the bias takes that back (Nagel et al., "Data-Free
    Quantization", arXiv:1906.04721, section 4.2).

    Args:
        model: the float32 graph with the contract's input.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    from onnxruntime.quantization import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="toolkit-int8-") as name:
        folder = Path(name)
        onnx.save(model, folder / "plain.onnx")
        # The symbolic shape inference would need sympy.
        quant_pre_process(folder / "plain.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        prepared = onnx.load(folder / "prepared.onnx")
        observer = observe(prepared, _INTEGER, images_u8)
        nearest = _quantized(prepared, observer.ranges(Calibration.MINMAX), folder)
        weights = rounded_together(prepared, nearest, images_u8)
        corrected = with_corrected_biases(prepared, with_weights(nearest, weights), observer.means())
        for calibration in Calibration:
            yield calibration, with_weights(_quantized(corrected, observer.ranges(calibration), folder), weights)


def _quantized(model: onnx.ModelProto, ranges: Ranges, folder: Path) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

    source, known, target = (folder / file for file in ("source.onnx", "ranges.json", "quantized.onnx"))
    onnx.save(model, source)
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, limits), known)
    quantize_static(
        source,
        target,
        None,
        calibration_cache_path=known,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_INTEGER,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        nodes_to_exclude=behind_the_last_layer(model),
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
    return onnx.load(target)


def behind_the_last_layer(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes behind the last one with weights, which make probabilities of its numbers.

    They stay float32: a `Concat` of [1 - p, p] would be cut to the range of the calibration images' probabilities.
    """
    nodes = model.graph.node
    last = max((i for i, node in enumerate(nodes) if node.op_type in _LAYERS), default=len(nodes))
    return [node.name for node in nodes[last + 1 :]]


def with_corrected_biases(model: onnx.ModelProto, rounded: onnx.ModelProto, means: Means) -> onnx.ModelProto:
    """`model` with biases that take back by how much the rounding of the weights moves the mean of each channel.

    Args:
        model: the float32 graph.
        rounded: the same in int8.
        means: of the tensors of the float32 graph, by channel.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = _dequantized(rounded)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[1] not in found:
            continue
        source, weight, bias = node.input
        if source not in means or bias not in weights:
            continue
        lost = weights[weight].astype(np.float64) - found[weight]
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        moved = _moved(lost, means[source], attributes)
        if moved.shape == weights[bias].shape:
            values = (weights[bias] + moved).astype(np.float32)
            tensors[bias].CopyFrom(numpy_helper.from_array(values, bias))
    return result


def _moved(
    lost: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """What the weights `lost` would have added to the mean of each output channel (O,).

    Args:
        lost: of a convolution (O, I / groups, height, width), of a dense layer (I, O), or (O, I) with `transB`.
        mean: of each input channel (I,).
        attributes: of the node.
    """
    if lost.ndim == 2:
        return (lost if attributes.get("transB") else lost.T) @ mean
    groups = attributes.get("group", 1)
    taps = lost.sum(axis=tuple(range(2, lost.ndim))).reshape(groups, -1, lost.shape[1])
    moved: npt.NDArray[np.float64] = np.einsum("goi,gi->go", taps, mean.reshape(groups, -1)).ravel()
    return moved


def _dequantized(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float64]]:
    """Name of each weight -> the values that it has in the int8 file."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and node.input[0].endswith("_quantized"):
            values, scale, zero = (tensors[name].astype(np.float64) for name in node.input)
            axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
            if scale.size > 1:  # a layer of one unit has one scale, without an axis
                shape = [1] * values.ndim
                shape[axis] = -1
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            found[node.input[0].removesuffix("_quantized")] = (values - zero) * scale
    return found
