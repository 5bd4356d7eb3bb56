"""Load a foreign ONNX file safely, and put a contract into one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import external_data_helper

from toolkit.core.errors import ModelError
from toolkit.core.text import first_line
from toolkit.model_files.contract import LABELS_KEY, METADATA_KEY, Contract
from toolkit.model_files.contract_io import labels_text, onnx_text, read_onnx


def load_onnx(path: Path) -> onnx.ModelProto:
    """The model with all its weights; those that lie in other files must lie in the folder of `path` or below it.

    Raises:
        ModelError: missing, no ONNX file, damaged, or with weights outside its folder.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise ModelError(f"{path}: expected an ONNX file, found {found}", hint="check the path")
    model = read_onnx(path)
    try:
        for tensor in stored_tensors(model.graph):
            if external_data_helper.uses_external_data(tensor):
                _check_external(tensor, path)
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: no ONNX file, or a damaged one ({first_line(error)})", hint="copy or export it again"
        ) from None
    return model


def embed(model: onnx.ModelProto, contract: Contract) -> None:
    """Put the contract into `model`, in place of one that it carries."""
    kept = {onnx_text(entry.key): onnx_text(entry.value) for entry in model.metadata_props}
    kept |= {METADATA_KEY: contract.to_json(), LABELS_KEY: labels_text(contract)}
    onnx.helper.set_model_props(model, kept)


def stored_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors stored in a graph, those in attributes and inner graphs too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from stored_tensors(inner)


def _check_external(tensor: onnx.TensorProto, path: Path) -> None:
    entries = {onnx_text(entry.key): onnx_text(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    place = path.parent / location
    inside = location and not PurePosixPath(location).is_absolute() and ".." not in PurePosixPath(location).parts
    if not inside or not place.resolve().is_relative_to(path.parent.resolve()):
        raise ModelError(
            f"{path}: its weights point to {location!r}, outside its folder", hint="save the model into one file"
        )
    if not place.is_file():
        raise ModelError(f"{path}: its weights should lie in {place}, and there is no such file")
    offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    if offset < 0 or length < 0 or offset + length > place.stat().st_size:
        raise ModelError(f"{path}: its weights should reach to byte {offset + length:,} of {place}, which is shorter")
