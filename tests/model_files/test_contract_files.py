"""Reading contracts and looking into model files, damaged and hostile ones among them."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import flatbuffers
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from toolkit.core.errors import ModelError
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files import protobuf_reader as wire
from toolkit.model_files.contract import METADATA_KEY, Contract
from toolkit.model_files.contract_io import file_format, labels_text, read_contract
from toolkit.model_files.inspect import inspect

CONTRACT = Contract(
    labels=("Cat", "Dog, large", "猫"),
    preprocess=Preprocess(height=4, width=5, colour=Colour.RGB, resize=Resize.PAD),
    recipe="cats",
    fingerprint="ab" * 32,
)


def write_onnx(path: Path, metadata: dict[str, str]) -> Path:
    """A graph of one Cast, with `metadata`."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["images"], ["probabilities"], to=TensorProto.FLOAT)],
        "one",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 4, 5, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4, 5, 3])],
        [helper.make_tensor("spare", TensorProto.FLOAT, [2, 3], [0.0] * 6)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx_contract_comes_back(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", {METADATA_KEY: CONTRACT.to_json(), "labels": labels_text(CONTRACT)})
    assert read_contract(path) == CONTRACT
    found = inspect(path)
    assert found.contract == CONTRACT
    assert found.operations == {"Cast": 1}
    assert found.weights == {"float": 6}
    assert found.size_bytes == path.stat().st_size
    assert onnx.load(path).metadata_props[1].value == "Cat\nDog, large\n猫\n"


def test_a_file_without_contract_names_the_way(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", {})
    with pytest.raises(ModelError, match="carries no toolkit contract") as caught:
        read_contract(path)
    assert "toolkit adopt" in caught.value.hint
    assert inspect(path).contract is None


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("m.onnx", b"", "empty"),
        ("m.onnx", b"<html>not a model</html>", "no ONNX file"),
        ("m.onnx", b"\x3a\xff\xff\xff\xff\x0f", "no ONNX file"),
        ("m.onnx", b"\x08\x08", "no graph"),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3", "TFLite"),
        ("m.tflite", b"\xff\xff\xff\xffTFL3" + bytes(64), "TFLite"),
        ("m.keras", b"PK\x03\x04", "zip"),
        ("m.bin", b"GGUF....", "no model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=why):
        read_contract(path)


def test_missing_and_plain_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found nothing"):
        file_format(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="neither"):
        read_contract(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    text = CONTRACT.to_json().replace('"schema": 1', '"schema": 99')
    with pytest.raises(ModelError, match="schema 99"):
        read_contract(write_onnx(tmp_path / "m.onnx", {METADATA_KEY: text}))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_truncated_onnx_is_refused(tmp_path: Path, keep: float) -> None:
    path = write_onnx(tmp_path / "m.onnx", {METADATA_KEY: CONTRACT.to_json()})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError):
        read_contract(path)


def hostile(path: Path, change: str) -> Path:
    """An ONNX file that protobuf can read, with something absurd in it."""
    model = onnx.load(write_onnx(path, {METADATA_KEY: CONTRACT.to_json()}))
    spare = model.graph.initializer[0]
    if change == "dims":
        spare.dims[:] = [2**62] * 400
    elif change == "type":
        spare.data_type = 99
    elif change == "external":
        spare.data_location = TensorProto.EXTERNAL
        spare.external_data.add(key="location", value="/dev/zero")
    data = model.SerializeToString()
    if change == "name":
        data = data.replace(b"Cast", b"\xff\xfe\xfd\xfc")
    elif change == "metadata":
        data += b"\x72\x04\x0a\x02\xff\xfe"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("change", "operations", "weights"),
    [
        ("dims", {"Cast": 1}, {"float": sys.maxsize}),
        ("type", {"Cast": 1}, {"type 99": 6}),
        ("external", {"Cast": 1}, {"float": 6}),
        ("name", {r"\xff\xfe\xfd\xfc": 1}, {"float": 6}),
        ("metadata", {"Cast": 1}, {"float": 6}),
    ],
)
def test_absurd_onnx_is_looked_into(
    tmp_path: Path, change: str, operations: dict[str, int], weights: dict[str, int]
) -> None:
    found = inspect(hostile(tmp_path / "m.onnx", change))
    assert (found.contract, found.operations, found.weights) == (CONTRACT, operations, weights)
    json.dumps(found.to_dict())


def test_an_onnx_file_larger_than_protobuf_allows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="more than an ONNX file has"):
        read_contract(path)


@given(st.binary(max_size=200))
def test_wire_reads_anything_or_says_why(data: bytes) -> None:
    try:
        total = sum(len(value) for _, value in wire.fields(memoryview(data)) if isinstance(value, memoryview))
    except wire.WireError:
        return
    assert total <= len(data)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
def test_wire_agrees_with_protobuf(metadata: dict[str, str]) -> None:
    model = onnx.ModelProto()
    helper.set_model_props(model, metadata)
    data = memoryview(model.SerializeToString())
    assert {wire.text(entry, 1): wire.text(entry, 2) for entry in wire.submessages(data, 14)} == metadata


@given(st.binary(max_size=120), st.integers(0, 8))
def test_flatbuffer_reads_anything_or_says_why(data: bytes, field: int) -> None:
    table = flatbuffer.Table(memoryview(data), 0, flatbuffer.Allowance(len(data)))
    for read in (table.integer, table.text, table.numbers, table.tables, table.table):
        try:
            read(field)
        except flatbuffer.FlatbufferError:
            continue


@given(st.text(max_size=40), st.integers(0, 2**32 - 1), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_flatbuffer_agrees_with_its_writer(text: str, number: int, numbers: list[int]) -> None:
    builder = flatbuffers.Builder(64)
    place = builder.CreateString(text)
    builder.StartVector(4, len(numbers), 4)
    for one in reversed(numbers):
        builder.PrependInt32(one)
    vector = builder.EndVector()
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(0, place, 0)
    builder.PrependUint32Slot(1, number, 7)
    builder.PrependUOffsetTRelativeSlot(2, vector, 0)
    builder.Finish(builder.EndObject(), b"TEST")
    table = flatbuffer.root(memoryview(bytes(builder.Output())), b"TEST")
    assert table.text(0) == text
    assert table.integer(1, "I", 7) == number
    assert table.numbers(2) == numbers
    assert table.integer(5) == 0


def test_flatbuffer_never_allocates_what_a_file_declares() -> None:
    data = struct.pack("<I4sHHHHiI", 16, b"TEST", 6, 8, 4, 0, 8, 4) + struct.pack("<I", 0xFFFFFFFF)
    table = flatbuffer.root(memoryview(data), b"TEST")
    for read in (table.octets, table.numbers, table.tables):
        with pytest.raises(flatbuffer.FlatbufferError):
            read(0)
