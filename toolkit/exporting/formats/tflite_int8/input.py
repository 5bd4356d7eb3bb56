"""An int8 TFLite file whose images are scaled without rounding.

A network begins with a product and a sum, such as (x - 127) / 128. The converter gives the product a wider range than
bytes need, so that neighbouring bytes become the same step. Where the scaled values are bytes again, each tensor on the
way there can hold them exactly: its scale is the product so far, its zero point what a byte of 0 became.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from toolkit.exporting.formats.tflite_int8.file import dequantized, operator_code, packed, read

_QUANTIZE, _ADD, _MUL, _SUB = 114, 0, 18, 41
_EXACT: Final = 1e-5  # by which a scale may differ, as a share; a zero point by so many steps
_LOWEST: Final = -128  # the int8 of a byte of 0


def with_exact_input(int8: bytes) -> bytes:
    """The file with steps of one byte up to the first layer; as it is where the scaled values are no bytes.

    Args:
        int8: it takes uint8 images, 0..255, by a scale of 1.
    """
    model = read(int8)
    graph = model.subgraphs[0]
    first = graph.operators[0]
    if operator_code(model.operatorCodes[first.opcodeIndex]) != _QUANTIZE or first.inputs[0] != graph.inputs[0]:
        return int8
    factor, offset = 1.0, 0.0
    on_the_way: list[tuple[Any, float, float]] = []
    for operation, number, target in _scalings(model, int(first.outputs[0])):
        if operation == _MUL:
            factor, offset = factor * number, offset * number
        else:
            offset += number if operation == _ADD else -number
        if factor <= 0:
            return int8
        on_the_way.append((graph.tensors[target].quantization, factor, _LOWEST - offset / factor))
    if len(on_the_way) < 2 or not all(_is_a_step(zero) for _, _, zero in on_the_way):
        return int8
    known, factor, zero = on_the_way.pop()
    if abs(known.scale[0] / factor - 1) > _EXACT or known.zeroPoint[0] != round(zero):
        return int8
    for known, factor, zero in on_the_way:
        known.scale, known.zeroPoint = np.array([factor], np.float32), np.array([round(zero)], np.int64)
    return packed(model)


def _is_a_step(zero: float) -> bool:
    return abs(zero - round(zero)) < _EXACT * 256 and _LOWEST <= round(zero) < -_LOWEST


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
