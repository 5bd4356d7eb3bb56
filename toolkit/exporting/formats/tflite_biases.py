"""An int8 TFLite file whose biases take back what the rounding of its weights does to the mean of each channel.

The same correction as for ONNX (Nagel et al., "Data-Free Quantization", arXiv:1906.04721, section 4.2): the converter
rounds weights, and each sum over thousands of rounded weights moves a little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt

from toolkit.core.errors import missing_extra
from toolkit.exporting.serving_graph import Images

CONV, DEPTHWISE, DENSE = 3, 4, 9
"""Codes of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED in TFLite's schema."""
BATCH: Final = 8

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Layer:
    """An operation with weights: its kind, and its tensors by number; `bias` is -1 where there is none."""

    kind: int
    source: int
    weight: int
    bias: int


def with_corrected_biases(int8: bytes, float32: bytes, images_u8: Images) -> bytes:
    """The int8 file with corrected biases; as it is where the two files do not have the same layers.

    Args:
        int8: the file.
        float32: the same network, converted the same way but for the numbers; takes float32 images.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    rounded, exact = (schema.ModelT.InitFromPackedBuf(content, 0) for content in (int8, float32))
    layers, originals = list(_layers(rounded)), list(_layers(exact))
    if [layer.kind for layer in layers] != [layer.kind for layer in originals]:
        return int8
    means = _means(float32, sorted({layer.source for layer in originals}), images_u8)
    seen: set[int] = set()
    for layer, original in zip(layers, originals, strict=True):
        weight, bias = (rounded.subgraphs[0].tensors[at] for at in (layer.weight, layer.bias))
        plain = exact.subgraphs[0].tensors[original.weight]
        if layer.bias < 0 or bias.buffer in seen or list(weight.shape) != list(plain.shape) or not weight.quantization:
            continue
        seen.add(bias.buffer)
        if layer.kind == CONV and plain.shape[3] != len(means[original.source]):
            continue  # in groups
        values = _values(exact, plain, np.float32) - _dequantized(rounded, weight)
        moved = _moved(layer.kind, values, means[original.source])
        scale = np.asarray(bias.quantization.scale, np.float64)
        old = np.asarray(rounded.buffers[bias.buffer].data, np.uint8).view("<i4")
        new = np.clip(np.rint(old + moved / scale), -(2**31), 2**31 - 1).astype("<i4")
        rounded.buffers[bias.buffer].data = new.view(np.uint8)
    builder = flatbuffers.Builder(len(int8) + 65536)
    builder.Finish(rounded.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _layers(model: Any) -> Iterator[_Layer]:
    """The operations with fixed weights, in order."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if kind in (CONV, DEPTHWISE, DENSE):
            source, weight, *rest = (int(at) for at in operator.inputs)
            if model.buffers[graph.tensors[weight].buffer].data is not None:
                yield _Layer(kind, source, weight, rest[0] if rest else -1)


def _values(model: Any, tensor: Any, dtype: npt.DTypeLike) -> Array:
    octets = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    return octets.view(dtype).reshape(tensor.shape).astype(np.float64)


def _dequantized(model: Any, tensor: Any) -> Array:
    """int8 weights as the numbers they stand for."""
    known = tensor.quantization
    shape = [1] * len(tensor.shape)
    shape[known.quantizedDimension] = -1
    scale, zero = (np.asarray(part, np.float64).reshape(shape) for part in (known.scale, known.zeroPoint))
    return (_values(model, tensor, np.int8) - zero) * scale


def _moved(kind: int, lost: Array, mean: Array) -> Array:
    """What the weights `lost` would have added to the mean of each output channel.

    Args:
        kind: of the layer.
        lost: (O, height, width, I), depthwise (1, height, width, O), dense (O, I).
        mean: of each input channel (I,).
    """
    moved: Array
    if kind == DEPTHWISE:
        moved = lost.sum(axis=(0, 1, 2)) * np.repeat(mean, lost.shape[3] // len(mean))
    else:
        whole = lost.sum(axis=(1, 2)) if kind == CONV else lost
        moved = whole @ np.resize(mean, whole.shape[1])  # a dense layer may take an image laid flat, channels last
    return moved


def _means(model: bytes, tensors: list[int], images_u8: Images) -> dict[int, Array]:
    """The mean of each channel (the last axis) of tensors, over images."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise missing_extra("ai-edge-litert", "litert", "an int8 TFLite file") from None

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    source = interpreter.get_input_details()[0]["index"]
    sums: dict[int, Array] = {}
    batch = 0
    for at in range(0, len(images_u8), BATCH):
        images = images_u8[at : at + BATCH].astype(np.float32)
        if len(images) != batch:
            batch = len(images)
            interpreter.resize_tensor_input(source, images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        for tensor in tensors:
            values = interpreter.get_tensor(tensor)
            mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
            sums[tensor] = sums.get(tensor, 0) + mean * len(images)
    return {tensor: total / len(images_u8) for tensor, total in sums.items()}
