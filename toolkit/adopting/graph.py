"""The nodes around a foreign graph, so that it takes uint8 images and gives probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from toolkit.core.errors import ModelError, UsageError
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, TensorLayout, Values

PREFIX: Final = "original/"
_SCALES: Final = {Values.BYTES: (1.0, 0.0), Values.UNIT: (1 / 255, 0.0), Values.SYMMETRIC: (1 / 127.5, -1.0)}
_NUMBERS: Final[dict[int, Literal["float32", "float16"]]] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Feeding:
    """What the network wants and gives: ((scaled - mean) / std), in its own channel order."""

    values: Values
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    logits: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """What the graph itself says.

    Attributes:
        input, output: names of the tensors.
        nchw: channels first.
        channels: 1 or 3.
        size: (height, width), None where open.
        batch: the fixed batch, None where open.
        numbers: type of the input.
        columns: what the output has beside the batch, None where open.
    """

    input: str
    output: str
    nchw: bool
    channels: int
    size: tuple[int, int] | None
    batch: int | None
    numbers: Literal["float32", "float16"]
    columns: int | None


def shapes(model: onnx.ModelProto, path: Path, layout: TensorLayout | None) -> Shapes:
    """Read the input and the output of the graph.

    Raises:
        ModelError: it is not a classifier of one image batch.
        UsageError: the layout cannot be told from the shape.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelError(f"{path}: has {len(inputs)} inputs, expected one batch of images")
    if len(model.graph.output) != 1:
        raise ModelError(f"{path}: has {len(model.graph.output)} outputs, expected one")
    tensor = inputs[0].type.tensor_type
    sides = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]
    if tensor.elem_type not in _NUMBERS:
        name = TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(f"{path}: its input is {name}, expected float32 or float16")
    if len(sides) != 4:
        raise ModelError(f"{path}: its input has {len(sides)} dimensions, expected four: a batch of images")
    nchw = _is_nchw(sides, layout, path)
    channels = sides[1] if nchw else sides[3]
    height, width = (sides[2], sides[3]) if nchw else (sides[1], sides[2])
    if channels not in (1, 3):
        raise ModelError(f"{path}: its input has {channels or 'an open number of'} channels, expected 1 or 3")
    return Shapes(
        input=inputs[0].name,
        output=model.graph.output[0].name,
        nchw=nchw,
        channels=channels,
        size=(height, width) if height and width else None,
        batch=sides[0],
        numbers=_NUMBERS[tensor.elem_type],
        columns=_columns(model.graph.output[0]),
    )


def _columns(output: onnx.ValueInfoProto) -> int | None:
    sides = [side.dim_value for side in output.type.tensor_type.shape.dim[1:]]
    return int(np.prod(sides)) if sides and all(side > 0 for side in sides) else None


def _is_nchw(sides: list[int | None], layout: TensorLayout | None, path: Path) -> bool:
    if layout:
        return layout is TensorLayout.NCHW
    first, last = sides[1] in (1, 3), sides[3] in (1, 3)
    if first == last:
        raise UsageError(
            f"{path}: its input is {sides}: channels first or last?", hint="--layout nchw or --layout nhwc"
        )
    return first


def find_output(model: onnx.ModelProto) -> Output | None:
    """Probabilities where the last operation is a Softmax or a Sigmoid, seen through casts and reshapes."""
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(model.graph.output[0].name)
    while node is not None and node.op_type in ("Cast", "Identity", "Reshape", "Flatten", "Squeeze"):
        node = producers.get(node.input[0])
    return Output.PROBABILITIES if node is not None and node.op_type in ("Softmax", "Sigmoid") else None


def wrap(model: onnx.ModelProto, found: Shapes, feeding: Feeding, contract: Contract, path: Path) -> onnx.ModelProto:
    """A copy of `model` with the contract's input and output.

    Raises:
        ModelError: an operator set too old for the nodes.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < 9:
        raise ModelError(
            f"{path}: operator set {opset}, expected 9 or newer", hint="export it again with a newer opset"
        )
    wrapped: onnx.ModelProto = compose.add_prefix(model, PREFIX)
    graph = wrapped.graph
    if found.batch and not contract.batch:
        _free_batch(graph, found.batch)
    before, constants = _before(found, feeding)
    after, more = _after(found, feeding, len(contract.labels))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (constants | more).items())
    batch: str | int = contract.batch or "batch"
    shape: list[str | int | None] = [batch, *contract.preprocess.shape]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, shape))
    graph.output.append(
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, len(contract.labels)])
    )
    return wrapped


def _before(found: Shapes, feeding: Feeding) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """uint8 (N, H, W, C) RGB -> what the network wants. Scaling, mean and std are one Mul and one Add."""
    scale, offset = _SCALES[feeding.values]
    std = np.array(feeding.std, np.float64)
    constants: dict[str, Any] = {
        "toolkit/scale": np.asarray(scale / std, np.float32),
        "toolkit/offset": np.asarray((offset - np.array(feeding.mean)) / std, np.float32),
    }
    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    if feeding.bgr:
        constants["toolkit/bgr"] = np.array([2, 1, 0], np.int64)
        steps.append(("Gather", ["toolkit/bgr"], {"axis": 3}))
    steps += [("Mul", ["toolkit/scale"], {}), ("Add", ["toolkit/offset"], {})]
    if found.nchw:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if found.numbers == "float16":
        steps.append(("Cast", [], {"to": TensorProto.FLOAT16}))
    return _chain("images", steps, PREFIX + found.input, "in"), constants


def _after(found: Shapes, feeding: Feeding, n_labels: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """What the network gives -> float32 (N, K) probabilities."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Flatten", [], {"axis": 1}),
        ("Cast", [], {"to": TensorProto.FLOAT}),
    ]
    source = PREFIX + found.output
    if found.columns == 1 and n_labels == 2:
        if feeding.logits:
            steps.append(("Sigmoid", [], {}))
        nodes = _chain(source, steps, "toolkit/second", "out")
        nodes.append(helper.make_node("Sub", ["toolkit/one", "toolkit/second"], ["toolkit/first"]))
        nodes.append(helper.make_node("Concat", ["toolkit/first", "toolkit/second"], ["probabilities"], axis=1))
        return nodes, {"toolkit/one": np.array(1, np.float32)}
    if feeding.logits:
        steps.append(("Softmax", [], {"axis": 1}))
    return _chain(source, steps, "probabilities", "out"), {}


def _chain(
    source: str, steps: list[tuple[str, list[str], dict[str, Any]]], target: str, name: str
) -> list[onnx.NodeProto]:
    """Nodes one after the other from the tensor `source` to the tensor `target`."""
    nodes = []
    for at, (operation, more, attributes) in enumerate(steps):
        output = target if at == len(steps) - 1 else f"toolkit/{name}{at}"
        nodes.append(helper.make_node(operation, [source, *more], [output], name=f"toolkit/{name}/{at}", **attributes))
        source = output
    return nodes


def _free_batch(graph: onnx.GraphProto, batch: int) -> None:
    """Reshapes that name the fixed batch take the batch that comes; the comparison shows whether that is right."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    for name in targets & constants.keys():
        shape = numpy_helper.to_array(constants[name]).copy()
        if shape.ndim == 1 and len(shape) > 1 and shape[0] == batch:
            shape[0] = 0 if -1 in shape[1:] else -1
            constants[name].CopyFrom(numpy_helper.from_array(shape, constants[name].name))
