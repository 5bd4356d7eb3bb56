"""Network -> TFLite."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import absl.logging
import flatbuffers
import numpy as np
import tensorflow as tf

from toolkit.core.errors import ModelError
from toolkit.core.text import first_line
from toolkit.exporting.options import Quantize
from toolkit.exporting.serving_graph import INPUT, OUTPUT, Images, Network
from toolkit.images.spec import Colour
from toolkit.model_files.contract import METADATA_KEY, Contract
from toolkit.model_files.contract_io import LABELS_ASSET, labels_text

SIGNATURE = "serving_default"


def convert(network: Network, quantize: Quantize | None, *, takes_float: bool = False) -> bytes:
    """The network as a TFLite flatbuffer: uint8 (1, H, W, C), resizable batch -> float32 (1, K).

    Args:
        network: the network.
        quantize: None for float32, or float16; for int8 see `tflite_int8`.
        takes_float: the input is float32, values 0..255; for comparison with an int8 file, layer by layer.

    Raises:
        ModelError: a layer that TFLite does not know.
    """
    if quantize is Quantize.INT8:
        raise ValueError("int8 needs calibration images")
    converter = _converter(network, takes_float=takes_float)
    if quantize is Quantize.FLOAT16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    with converting(network):
        model: bytes = converter.convert()
    return model


def calibrated(network: Network, images_u8: Images) -> bytes:
    """The network in float32, taking float32 images, with the range of each of its tensors over all images.

    Args:
        images_u8: (N, H, W, C), images that the network was trained on.

    Raises:
        ModelError: a layer that TFLite does not know.
    """
    # The integer converter makes its own uint8 input out of a float one.
    converter = _converter(network, takes_float=True)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _representative(images_u8)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter._experimental_calibrate_only = True
    with converting(network):
        model: bytes = converter.convert()
    return model


def _converter(network: Network, *, takes_float: bool) -> Any:
    # The float converter refuses a uint8 input beside a float graph, so the Cast is in the graph. No second argument:
    # with it the weights were left out.
    serve = network.serving(tf.float32 if takes_float else tf.uint8)
    with _quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])


@contextmanager
def converting(network: Network) -> Iterator[None]:
    """What TensorFlow's converter says stays unheard, but for why it cannot convert `network`: that is a ModelError."""
    try:
        with _quiet():
            yield
    except Exception as error:
        raise ModelError(
            f"{network.contract.recipe or 'the network'}: TensorFlow cannot convert it to TFLite ({first_line(error)})",
            hint="try --onnx or --savedmodel",
        ) from error


def _representative(calibration: Images) -> Iterator[list[np.ndarray[Any, np.dtype[np.float32]]]]:
    """Each image as float32 (1, H, W, C). The first reaches 0 and 255, so that the input's scale becomes 1."""
    for at in range(len(calibration)):
        image = calibration[at : at + 1].astype(np.float32)
        if at == 0:
            image[0, 0, 0, :], image[0, -1, -1, :] = 0.0, 255.0
        yield [image]


def save(model: bytes, path: Path, contract: Contract) -> None:
    """Write `model` with its contract, its labels as an associated file, and the names of the contract."""
    content = with_metadata(model, contract)
    packed = io.BytesIO(content)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_ASSET, (1980, 1, 1, 0, 0, 0)), labels_text(contract))
    path.write_bytes(packed.getvalue())


def with_metadata(model: bytes, contract: Contract) -> bytes:
    """The flatbuffer with the contract, TFLite's own metadata, and a signature."""
    from tensorflow.lite.python import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = tree.subgraphs[0]
    source, target = graph.inputs[0], graph.outputs[0]
    graph.tensors[source].name, graph.tensors[target].name = INPUT.encode(), OUTPUT.encode()
    tree.description = b"uint8 images (batch, height, width, channels), 0..255 -> class probabilities"
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs, signature.outputs = [_tensor_map(schema, INPUT, source)], [_tensor_map(schema, OUTPUT, target)]
    tree.signatureDefs = [signature]
    entries = {"TFLITE_METADATA": tflite_metadata(contract), METADATA_KEY: contract.to_json().encode()}
    tree.metadata = [entry for entry in tree.metadata or [] if entry.name.decode() not in entries]
    for name, content in entries.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry.name, entry.buffer = name.encode(), len(tree.buffers)
        tree.buffers.append(buffer)
        tree.metadata.append(entry)
    builder = flatbuffers.Builder(len(model) + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor_map(schema: Any, name: str, index: int) -> Any:
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name.encode(), index
    return tensor


def tflite_metadata(contract: Contract) -> bytes:
    """The flatbuffer that TFLite's metadata convention puts into "TFLITE_METADATA".

    It says that the input is an image, and that `labels.txt`, packed beside it, names the output's columns.
    """
    builder = flatbuffers.Builder(1024)
    labels = _table(builder, 5, {0: LABELS_ASSET, 1: "Class names, one a line"}, {2: (2, "b")})  # TENSOR_AXIS_LABELS
    output = _table(builder, 7, {0: OUTPUT, 1: "Probability of each class"}, {}, {6: _vector(builder, [labels])})
    spec = contract.preprocess
    size = _table(builder, 2, {}, {0: (spec.width, "I"), 1: (spec.height, "I")})
    space = 1 if spec.colour is Colour.RGB else 2
    properties = _table(builder, 2, {}, {0: (space, "b")}, {1: size})
    content = _table(builder, 3, {}, {0: (2, "B")}, {1: properties})  # ImageProperties
    description = f"Image, {spec.colour}, values 0..255, brought to size by '{spec.resize}'"
    image = _table(builder, 7, {0: INPUT, 1: description}, {}, {3: content})
    graph = _table(builder, 6, {}, {}, {2: _vector(builder, [image]), 3: _vector(builder, [output])})
    texts = {0: contract.recipe or "image classifier", 1: "Image classifier", 7: "1.0.0"}
    model = _table(builder, 8, texts, {}, {6: _vector(builder, [graph])})
    builder.Finish(model, b"M001")
    return bytes(builder.Output())


def _table(
    builder: Any,
    n_fields: int,
    texts: dict[int, str],
    numbers: dict[int, tuple[int, str]],
    offsets: dict[int, int] | None = None,
) -> int:
    """Write one table; each dict is from the field's place in the schema."""
    places = {field: builder.CreateString(value) for field, value in texts.items()} | (offsets or {})
    builder.StartObject(n_fields)
    for field, place in places.items():
        builder.PrependUOffsetTRelativeSlot(field, place, 0)
    prepend = {"b": builder.PrependInt8Slot, "B": builder.PrependUint8Slot, "I": builder.PrependUint32Slot}
    for field, (value, kind) in numbers.items():
        prepend[kind](field, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


@contextmanager
def _quiet() -> Iterator[None]:
    """The converter gives advice that its user cannot follow."""
    level = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        absl.logging.set_verbosity(level)
