"""The inside of a TFLite file: its layers, their weights, and what they are given."""

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
_BATCH: Final = 8

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """An operation with fixed weights.

    Attributes:
        kind: its code.
        source, weight, bias, target: its tensors by number; `bias` is -1 where there is none.
        options: of the operation, as in TFLite's schema.
    """

    kind: int
    source: int
    weight: int
    bias: int
    target: int
    options: Any


def read(content: bytes) -> Any:
    """A file as the objects of TFLite's schema, which can be changed."""
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    """The file of such objects."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def weighted_layers(model: Any) -> list[Layer]:
    """The operations with fixed weights, in order."""
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        kind = operator_code(model.operatorCodes[operator.opcodeIndex])
        if kind in (CONV, DEPTHWISE, DENSE):
            source, weight, *rest = (int(at) for at in operator.inputs)
            if model.buffers[graph.tensors[weight].buffer].data is not None:
                bias, target = rest[0] if rest else -1, int(operator.outputs[0])
                found.append(Layer(kind, source, weight, bias, target, operator.builtinOptions))
    return found


def operator_code(code: Any) -> int:
    """The number of an operation in TFLite's schema."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def stored(model: Any, tensor: Any, dtype: npt.DTypeLike) -> Array:
    """The numbers of a fixed tensor, as they are in the file."""
    octets = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    return octets.view(dtype).reshape(tensor.shape).astype(np.float64)


def store(model: Any, tensor: Any, values: npt.NDArray[Any]) -> None:
    """Give a fixed tensor other numbers. Tensors that began alike share a buffer: the others keep it.

    Args:
        values: of the type and the number that the tensor holds.
    """
    if sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors) > 1:
        model.buffers.append(type(model.buffers[0])())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.ascontiguousarray(values).view(np.uint8).ravel()


def dequantized(model: Any, tensor: Any) -> Array:
    """int8 weights as the numbers they stand for."""
    known = tensor.quantization
    shape = [1] * len(tensor.shape)
    shape[known.quantizedDimension] = -1
    scale, zero = (np.asarray(part, np.float64).reshape(shape) for part in (known.scale, known.zeroPoint))
    return (stored(model, tensor, np.int8) - zero) * scale


def activations(content: bytes, tensors: list[int], images_u8: Images) -> Iterator[dict[int, npt.NDArray[np.float32]]]:
    """What a file that takes float32 images computes for them, batch after batch: tensor by number -> values (B, ...).

    Raises:
        MachineError: the runtime is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise missing_extra("ai-edge-litert", "litert", "an int8 TFLite file") from None

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    source = interpreter.get_input_details()[0]["index"]
    batch = 0
    for at in range(0, len(images_u8), _BATCH):
        images = images_u8[at : at + _BATCH].astype(np.float32)
        if len(images) != batch:
            batch = len(images)
            interpreter.resize_tensor_input(source, images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        yield {tensor: interpreter.get_tensor(tensor) for tensor in tensors}
