"""An int8 TFLite file whose images are scaled by what their bytes stand for, without rounding.

A network begins with a product and a sum, such as (x - 127) / 128. In integers both would round, and the converter's
range of the product is wider than needed. Where the scaled values are bytes again, the input says so by its scale and
zero point, and the operations go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from toolkit.exporting.formats.tflite_file import dequantized, operator_code, packed, read

_QUANTIZE, _ADD, _MUL, _SUB = 114, 0, 18, 41
_EXACT: Final = 1e-5  # by which a scale may differ, as a share; a zero point by so many steps


def with_exact_input(int8: bytes) -> bytes:
    """The file without the scaling at its start; as it is where that is not the same to the bit.

    Args:
        int8: it takes uint8 images.
    """
    model = read(int8)
    graph = model.subgraphs[0]
    first = graph.operators[0]
    if operator_code(model.operatorCodes[first.opcodeIndex]) != _QUANTIZE or first.inputs[0] != graph.inputs[0]:
        return int8
    factor, offset, n_operations, scaled = 1.0, 0.0, 0, int(first.outputs[0])
    for operation, number, target in _scalings(model, scaled):
        if operation == _MUL:
            factor, offset = factor * number, offset * number
        else:
            offset += number if operation == _ADD else -number
        n_operations, scaled = n_operations + 1, target
    last = graph.tensors[scaled].quantization
    if not n_operations or factor <= 0:
        return int8
    zero = -offset / factor
    promised = np.array([factor, zero - 128])
    found = np.array([last.scale[0], last.zeroPoint[0]], np.float64)
    if np.abs(found / promised - 1)[0] > _EXACT or abs(found[1] - promised[1]) > _EXACT * 256:
        return int8
    given = graph.tensors[graph.inputs[0]].quantization
    given.scale, given.zeroPoint = np.array([last.scale[0]], np.float32), np.array([round(zero)], np.int64)
    first.outputs = np.array([scaled], np.int32)
    graph.operators = [first, *graph.operators[1 + n_operations :]]
    return packed(model)


def _scalings(model: Any, tensor: int) -> Iterator[tuple[int, float, int]]:
    """The products and sums with one number that follow on `tensor`: code, number, their output."""
    graph = model.subgraphs[0]
    for operator in graph.operators[1:]:
        code = operator_code(model.operatorCodes[operator.opcodeIndex])
        users = [other for other in graph.operators if tensor in other.inputs]
        if code not in (_ADD, _MUL, _SUB) or operator.inputs[0] != tensor or len(users) != 1:
            return
        number = graph.tensors[int(operator.inputs[1])]
        data = model.buffers[number.buffer].data
        if data is None or len(data) != 1 or operator.builtinOptions.fusedActivationFunction:
            return
        tensor = int(operator.outputs[0])
        yield code, float(dequantized(model, _flat(number)).item()), tensor


def _flat(number: Any) -> Any:
    """A tensor of one number, with a shape that has an axis."""
    number.shape = np.array([1], np.int32)
    return number
