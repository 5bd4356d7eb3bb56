"""No reader of model files and recipes takes a time that grows faster than what it is given, whatever is in there."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import onnx_networks

from toolkit.core.errors import ToolkitError
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files.contract import Contract
from toolkit.model_files.inspect import inspect
from toolkit.training.recipes.recipe import parse_recipe


def tflite_of_shared_graphs(n: int) -> bytes:
    """`n` graphs that are all the same one, of `n` operators that are all the same one."""
    # Offsets are relative to where they stand: root table, graphs, graph, operators, operator.
    model, graphs = 28, 44
    graph_table = graphs + 4 + 4 * n + 12
    operators = graph_table + 20
    operator_table = operators + 4 + 4 * n + 8
    head = struct.pack("<I4s", model, b"TFL3")
    # version, codes (none), graphs
    head += struct.pack("<HHHHHH", 10, 16, 0, 0, 12, 0).ljust(model - 8, b"\0")
    head += struct.pack("<iIII", model - 8, 0, 0, graphs - model - 12)
    vector = struct.pack("<I", n) + b"".join(
        struct.pack("<I", graph_table - place) for place in range(graphs + 4, graphs + 4 + 4 * n, 4)
    )
    graph = struct.pack("<HHHHHH", 12, 20, 0, 0, 0, 16) + struct.pack(
        "<iIIII", 12, 0, 0, 0, operators - graph_table - 16
    )
    places = range(operators + 4, operators + 4 + 4 * n, 4)
    vector_2 = struct.pack("<I", n) + b"".join(struct.pack("<I", operator_table - place) for place in places)
    operator = struct.pack("<HHHH", 6, 4, 0, 0) + struct.pack("<i", 8)
    return head + vector + graph + vector_2 + operator


def onnx_with_many_sides(n: int) -> bytes:
    """A tensor of `n` sides of 2^62."""

    def part(number: int, body: bytes) -> bytes:
        length, out = len(body), b""
        while length > 127:
            out += bytes([length & 127 | 128])
            length >>= 7
        return bytes([number << 3 | 2]) + out + bytes([length]) + body

    side = b"\xff" * 8 + b"\x3f"
    return part(7, part(5, part(1, side * n)))


def of_file(name: str, make: Callable[[int], bytes]) -> Callable[[int, Path], Callable[[], object]]:
    def prepare(n: int, folder: Path) -> Callable[[], object]:
        path = folder / f"{n}_{name}"
        path.write_bytes(make(n))
        return lambda: inspect(path)

    return prepare


def contract_of_labels(n: int, _folder: Path) -> Callable[[], object]:
    fields = {**onnx_networks.contract().to_dict(), "labels": [f"class {i}" for i in range(n)]}
    text = json.dumps(fields)
    return lambda: Contract.from_json(text)


def contract_of_brackets(n: int, _folder: Path) -> Callable[[], object]:
    text = '{"schema":' + "[" * n
    return lambda: Contract.from_json(text)


def recipe_of_labels(n: int, _folder: Path) -> Callable[[], object]:
    text = "labels = [" + ", ".join(f'"class {i}"' for i in range(n)) + "]\n"
    return lambda: parse_recipe(text, source="r.toml", name="r")


def recipe_of_unknown_keys(n: int, _folder: Path) -> Callable[[], object]:
    text = "\n".join(f"key{i} = 1" for i in range(n // 10))
    return lambda: parse_recipe(text, source="r.toml", name="r")


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.process_time()
        with contextlib.suppress(ToolkitError):
            work()
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize(
    ("prepare", "n"),
    [
        (of_file("graphs.tflite", tflite_of_shared_graphs), 2_000),
        (of_file("sides.onnx", onnx_with_many_sides), 20_000),
        (contract_of_labels, 50_000),
        (contract_of_brackets, 50_000),
        (recipe_of_labels, 10_000),
        (recipe_of_unknown_keys, 10_000),
    ],
    ids=["graphs", "sides", "labels", "brackets", "recipe", "keys"],
)
def test_four_times_the_bytes_take_about_four_times_as_long(
    prepare: Callable[[int, Path], Callable[[], object]], n: int, tmp_path: Path
) -> None:
    small, large = prepare(n, tmp_path), prepare(4 * n, tmp_path)
    # Quadratic would be 16 times as long. The clock is coarse where it is short.
    assert seconds(large) < 9 * max(seconds(small), 0.005)


def test_offsets_that_lead_to_one_place_again_and_again_are_refused() -> None:
    root = flatbuffer.root(memoryview(tflite_of_shared_graphs(500)), b"TFL3")
    graphs = root.tables(2)
    assert len(graphs) == 500
    assert len(graphs[0].tables(3)) == 500
    with pytest.raises(flatbuffer.FlatbufferError, match="again and again"):
        [graph.tables(3) for graph in graphs]
