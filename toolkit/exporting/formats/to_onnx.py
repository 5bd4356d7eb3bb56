"""Network -> ONNX."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

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

    serve = network.serving()
    try:
        with _quiet():
            converted = tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=opset)
    except Exception as error:
        raise ModelError(
            f"{network.contract.recipe or 'the network'}: tf2onnx cannot convert it at opset {opset} ({error})",
            hint="try --savedmodel or --tflite, or another --opset",
        ) from error
    model: onnx.ModelProto = converted[0]
    _name_batch(model)
    name_weights(model.graph)
    model.producer_name = "toolkit"
    model.doc_string = "uint8 images (batch, height, width, channels), 0..255 -> class probabilities"
    return model


def save(model: onnx.ModelProto, path: Path, contract: Contract) -> None:
    """Write `model` with its contract."""
    embed(model, contract)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


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
