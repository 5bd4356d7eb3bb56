"""Network -> ONNX."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

from toolkit.core.errors import ModelError
from toolkit.exporting.serving_graph import INPUT, OUTPUT, Network
from toolkit.model_files.contract import Contract
from toolkit.model_files.onnx_io import embed


def convert(network: Network, opset: int) -> onnx.ModelProto:
    """The network in float32: `images` uint8 (batch, H, W, C) -> `probabilities` float32 (batch, K).

    Raises:
        ModelError: a layer that ONNX or tf2onnx does not know.
    """
    import tf2onnx

    name = network.contract.recipe or "the network"
    serve = network.serving()
    try:
        with _quiet(), _inlined():
            function = serve.get_concrete_function()
            converted = tf2onnx.convert.from_function(
                serve, input_signature=serve.input_signature, opset=opset, custom_op_handlers={"Erfc": (_erfc, [])}
            )
    except Exception as error:
        raise ModelError(
            f"{name}: tf2onnx cannot convert it at opset {opset} ({error})",
            hint="try --savedmodel or --tflite, or another --opset",
        ) from error
    model: onnx.ModelProto = converted[0]
    _store_captured(model, function)
    _name_batch(model)
    if unknown := sorted({node.op_type for node in model.graph.node if not _is_known(node, opset)}):
        raise ModelError(
            f"{name}: ONNX has no {', '.join(unknown)}, which tf2onnx left in the graph",
            hint="try --savedmodel or --tflite",
        )
    name_weights(model.graph)
    model.producer_name = "toolkit"
    model.doc_string = "uint8 images (batch, height, width, channels), 0..255 -> class probabilities"
    return model


def save(model: onnx.ModelProto, path: Path, contract: Contract) -> None:
    """Write `model` with its contract."""
    embed(model, contract)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _store_captured(model: onnx.ModelProto, function: Any) -> None:
    """Make weights of the tensors that a layer holds without a variable, as Keras' Normalization does.

    tf2onnx takes them for inputs.
    """
    values = {inner.name: outer for outer, inner in function.graph.captures}
    for value in list(model.graph.input):
        if value.name in values:
            model.graph.initializer.append(numpy_helper.from_array(values[value.name].numpy(), value.name))
            model.graph.input.remove(value)


def _is_known(node: onnx.NodeProto, opset: int) -> bool:
    return bool(node.domain) or onnx.defs.has(node.op_type, max_inclusive_version=opset)


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """1 - Erf, which ONNX has no operation for; of Keras' gelu."""
    kind = context.get_dtype(node.output[0])
    shape = context.get_shape(node.output[0])
    erf = context.make_node("Erf", list(node.input), dtypes=[kind], shapes=[shape])
    one = context.make_const(f"{name}_one", np.ones((), np.float32))
    context.remove_node(name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=list(node.output), dtypes=[kind], shapes=[shape]
    )


@contextmanager
def _inlined() -> Iterator[None]:
    """Functions within the network are traced as a part of it: tf2onnx knows no calls, and Keras' convolution in groups
    is one."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _name_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in (INPUT, OUTPUT):
            raise ModelError(f"the converted graph has an input or output {value.name!r}, expected {INPUT}, {OUTPUT}")
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def name_weights(graph: onnx.GraphProto) -> None:
    """Name and order the weights by their first use: tf2onnx's own names differ from run to run.

    The same network then gives the same bytes, and so the same fingerprint in result tables.
    """
    weights = {weight.name: weight for weight in graph.initializer}
    used = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    names = {name: f"weights_{place}" for place, name in enumerate(used)}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for name, new in names.items():
        weights[name].name = new
    ordered = [weights[name] for name in used]
    del graph.initializer[:]
    graph.initializer.extend(ordered)


@contextmanager
def _quiet() -> Iterator[None]:
    """tf2onnx tells its whole life through logging."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
