"""An int8 TFLite file whose last dense layer and softmax stay float32.

An integer softmax knows 256 values, and rounding the last weights moves the answer itself, which no later layer evens
out. Where that costs more than the limits allow, the few operations behind the last dense layer's input are those of
the float32 file, as they are in an int8 ONNX file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.exporting.formats.tflite_int8.file import DENSE, operator_code, packed, read


def with_float_head(int8: bytes, float32: bytes) -> bytes | None:
    """The int8 file with the float32 file's operations from the last dense layer on; None where it has no such layer,
    or where they take something else as well.

    Args:
        int8: the file.
        float32: the same network, converted the same way but for the numbers.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    rounded, exact = read(int8), read(float32)
    at, at_exact = _last_dense(rounded), _last_dense(exact)
    if at is None or at_exact is None:
        return None
    graph, original = rounded.subgraphs[0], exact.subgraphs[0]
    source, source_exact = (int(ops[n].inputs[0]) for ops, n in ((graph.operators, at), (original.operators, at_exact)))
    if list(graph.tensors[source].shape) != list(original.tensors[source_exact].shape):
        return None
    if not _is_all_they_take(source_exact, original.operators[at_exact:], exact):
        return None
    taken = _Taken(rounded, exact)
    head = schema.OperatorT()
    head.opcodeIndex = taken.opcode(schema.BuiltinOperator.DEQUANTIZE, 2)
    head.inputs, head.outputs = np.array([source], np.int32), np.array([taken.tensor(source_exact)], np.int32)
    head.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    head.builtinOptions = schema.DequantizeOptionsT()
    graph.operators = [*graph.operators[:at], head, *map(taken.operator, original.operators[at_exact:])]
    old, new = int(graph.outputs[0]), taken.tensor(int(original.outputs[0]))
    graph.outputs = np.array([new], np.int32)
    for signature in rounded.signatureDefs or []:
        for named in signature.outputs:
            named.tensorIndex = new if named.tensorIndex == old else named.tensorIndex
    _drop_unused(rounded)
    return packed(rounded)


def _last_dense(model: Any) -> int | None:
    operators = model.subgraphs[0].operators
    kinds = [operator_code(model.operatorCodes[operator.opcodeIndex]) for operator in operators]
    return max((at for at, kind in enumerate(kinds) if kind == DENSE), default=None)


def _is_all_they_take(source: int, operators: list[Any], model: Any) -> bool:
    """Whether `operators` need no tensor but `source`, fixed ones and their own, down to the answer."""
    graph = model.subgraphs[0]
    known = {-1, source} | {
        at for at, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None
    }
    for operator in operators:
        if not known.issuperset(map(int, operator.inputs)):
            return False
        known.update(map(int, operator.outputs))
    return int(graph.outputs[0]) in known


def _drop_unused(model: Any) -> None:
    """Take the weights that no operation reads any more out of the file."""
    graph = model.subgraphs[0]
    read = {int(at) for operator in graph.operators for at in (*operator.inputs, *operator.outputs)}
    kept = {tensor.buffer for at, tensor in enumerate(graph.tensors) if at in read}
    for tensor in graph.tensors:
        if tensor.buffer not in kept:
            model.buffers[tensor.buffer].data = None


class _Taken:
    """What was taken from one model into another: tensors with their buffers, operators with their codes."""

    def __init__(self, into: Any, source: Any) -> None:
        self._into, self._source = into, source
        self._tensors: dict[int, int] = {}

    def tensor(self, at: int) -> int:
        """The number that the source's tensor `at` has in the other model."""
        if at < 0 or at in self._tensors:
            return self._tensors.get(at, at)
        tensor = self._source.subgraphs[0].tensors[at]
        self._into.buffers.append(self._source.buffers[tensor.buffer])
        tensor.buffer = len(self._into.buffers) - 1
        self._into.subgraphs[0].tensors.append(tensor)
        self._tensors[at] = len(self._into.subgraphs[0].tensors) - 1
        return self._tensors[at]

    def operator(self, operator: Any) -> Any:
        """The source's operator, with the other model's numbers."""
        code = self._source.operatorCodes[operator.opcodeIndex]
        operator.opcodeIndex = self.opcode(operator_code(code), code.version)
        operator.inputs = np.array([self.tensor(int(at)) for at in operator.inputs], np.int32)
        operator.outputs = np.array([self.tensor(int(at)) for at in operator.outputs], np.int32)
        return operator

    def opcode(self, kind: int, version: int) -> int:
        """The number of an operator's code, added where it is new."""
        codes = self._into.operatorCodes
        for n, code in enumerate(codes):
            if operator_code(code) == kind and code.version == version:
                return n
        new = type(codes[0])()
        new.deprecatedBuiltinCode, new.builtinCode, new.version = min(kind, 127), kind, version
        codes.append(new)
        return len(codes) - 1
