"""What is in a model file: its contract, size, operations and numbers, without running anything of it."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import ModelError
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files import protobuf_reader as wire
from toolkit.model_files.contract import Contract, NoContractError
from toolkit.model_files.contract_io import (
    SAVED_MODEL_PB,
    TFLITE_IDENTIFIER,
    Format,
    file_format,
    mapped,
    onnx_text,
    read_contract,
    read_onnx,
)
from toolkit.model_files.imagenet import imagenet_file, is_imagenet
from toolkit.model_files.tflite_schema import TFLITE_OPERATORS, TFLITE_TYPES

# Operations with weights, by the names that each format gives them: what people count as layers.
_LAYERS: Final = {
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Conv2D", "DepthwiseConv2dNative"),
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What is known of a model file.

    Attributes:
        path: the file or folder.
        format: "onnx", "tflite", "savedmodel" or "bundle".
        contract: None where the file carries none.
        size_bytes: all of it.
        sha256: of the file; of a folder's files one after the other, in order of their names.
        layers: operations with weights.
        operations: name -> how many.
        weights: type of number -> how many values are stored in it.
    """

    path: Path
    format: Format
    contract: Contract | None
    size_bytes: int
    sha256: str
    layers: int
    operations: dict[str, int]
    weights: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "contract": self.contract.to_dict() if self.contract else None,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "layers": self.layers,
            "operations": self.operations,
            "weights": self.weights,
        }


def inspect(path: Path) -> Inspection:
    """Look into the ONNX file, TFLite file, SavedModel or bundle at `path`, or the model called `imagenet`.

    Raises:
        ModelError: missing, no model, damaged, or with a contract of another schema.
        MachineError: `imagenet` cannot be made here.
    """
    path = imagenet_file() if is_imagenet(path) else path
    kind = file_format(path)
    contract = _contract(path)
    operations, weights = _content(path, kind)
    size, digest = fingerprint_files(path)
    return Inspection(
        path=path,
        format=kind,
        contract=contract,
        size_bytes=size,
        sha256=digest,
        layers=sum(n for name, n in operations.items() if name in _LAYERS),
        operations=dict(sorted(operations.items())),
        weights=dict(sorted(weights.items())),
    )


def fingerprint_files(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256) of a file, or of all files of a folder in order of their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest, size = hashlib.sha256(), 0
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    return size, digest.hexdigest()


def _contract(path: Path) -> Contract | None:
    try:
        return read_contract(path)
    except NoContractError:
        return None


def _content(path: Path, kind: Format) -> tuple[Counter[str], Counter[str]]:
    """Operations and weights of the file."""
    if kind == "bundle":
        return Counter(), Counter()
    try:
        if kind == "onnx":
            return _onnx(path)
        data = mapped(path / SAVED_MODEL_PB if kind == "savedmodel" else path)
        return _tflite(data) if kind == "tflite" else _savedmodel(data)
    except (wire.WireError, flatbuffer.FlatbufferError) as error:
        raise ModelError(f"{path}: damaged ({error})", hint="copy or export it again") from None


def _onnx(path: Path) -> tuple[Counter[str], Counter[str]]:
    from onnx import TensorProto  # here as in `read_onnx`

    graph = read_onnx(path).graph
    names = {number: name.lower() for name, number in TensorProto.DataType.items()}
    weights: Counter[str] = Counter()
    for tensor in graph.initializer:
        weights[names.get(tensor.data_type, f"type {tensor.data_type}")] += _product(tensor.dims)
    return Counter(onnx_text(node.op_type) for node in graph.node), weights


def _tflite(data: memoryview) -> tuple[Counter[str], Counter[str]]:
    operations: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    model = flatbuffer.root(data, TFLITE_IDENTIFIER)
    codes = [_operator_name(code) for code in model.tables(1)]
    sizes = [len(buffer.octets(0)) for buffer in model.tables(4)]
    for graph in model.tables(2):
        for operator in graph.tables(3):
            index = operator.integer(0)
            operations[codes[index] if index < len(codes) else f"operator {index}"] += 1
        for tensor in graph.tables(0):
            buffer, kind = tensor.integer(2), tensor.integer(1, "b")
            if buffer < len(sizes) and sizes[buffer]:
                weights[TFLITE_TYPES.get(kind, f"type {kind}")] += _product(tensor.numbers(0))
    return operations, weights


def largest_tensor(path: Path) -> int:
    """How many values the largest tensor of a TFLite file has, as it declares; what a runtime makes room for.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        graphs = flatbuffer.root(mapped(path), TFLITE_IDENTIFIER).tables(2)
        return max((_product(tensor.numbers(0)) for graph in graphs for tensor in graph.tables(0)), default=0)
    except flatbuffer.FlatbufferError as error:
        raise ModelError(f"{path}: damaged ({error})", hint="copy or export it again") from None


def _operator_name(code: flatbuffer.Table) -> str:
    """The newer of the two fields counts, unless it was left at 0 by an older writer."""
    number = max(code.integer(3, "i"), code.integer(0, "b"))
    name = TFLITE_OPERATORS[number] if 0 <= number < len(TFLITE_OPERATORS) else f"operator {number}"
    return code.text(1) or name if name == "CUSTOM" else name


def _savedmodel(data: memoryview) -> tuple[Counter[str], Counter[str]]:
    """Operations of the graph and of its functions; the weights lie in files of their own and are not counted."""
    operations: Counter[str] = Counter()
    for path in ((2, 2, 1), (2, 2, 2, 1, 3)):
        operations.update(wire.text(node, 2) for node in wire.submessages(data, *path))
    return operations, Counter()


def _product(sides: Iterable[int]) -> int:
    """The number of values in a tensor; a file may declare any number, and not all of them can be printed."""
    product = 1
    for side in sides:  # never a number of a million digits
        product = min(product * max(0, side), sys.maxsize)
    return product
