"""No reader takes a time that grows faster than what it is given, whatever is in there: all but the images' own.

Those are in `images/test_hostile_images.py`.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import onnx_networks, small

from toolkit.core.errors import ToolkitError
from toolkit.data import archive
from toolkit.data.label_table import LabelTables, find_labels
from toolkit.data.labels_file import read_labels
from toolkit.data.walk import Sample
from toolkit.inference.result_table import Layout, ResultRow, encode
from toolkit.inference.resume import EarlierRows
from toolkit.inference.saved_results import SavedResults
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files.bundle import load_bundle
from toolkit.model_files.contract import Contract
from toolkit.model_files.inspect import inspect
from toolkit.model_files.torch_legacy import TorchFileError, read_torch_legacy
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


def recipe_of_one_deep_key(n: int, _folder: Path) -> Callable[[], object]:
    text = ".".join(["a"] * n) + " = 1\n"
    return lambda: parse_recipe(text, source="r.toml", name="r")


def recipe_of_one_long_word(n: int, _folder: Path) -> Callable[[], object]:
    text = f"a = '{'b-' * n}{'.' * n}'\n"
    return lambda: parse_recipe(text, source="r.toml", name="r")


def recipe_of_named_layers(n: int, _folder: Path) -> Callable[[], object]:
    text = "".join(f"[[layers]]\nname = 'a{i}'\n" for i in range(n))
    return lambda: parse_recipe(text, source="r.toml", name="r")


def bundle_of_numbers(n: int, folder: Path) -> Callable[[], object]:
    place = folder / str(n)
    small.bundle(place)
    fields = json.loads((place / "bundle.json").read_text())
    fields["metrics"] = {f"m{i}": float(i) for i in range(n)}
    fields["data"] = "1" * n
    (place / "bundle.json").write_text(json.dumps(fields))
    return lambda: load_bundle(place)


def legacy_torch(n: int, _folder: Path) -> Callable[[], object]:
    """A tensor of `n` sides of 2^31."""
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    tensor = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(("
    tensor += b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0kX\x03\0\0\0cpuK\x01NtQK\0("
    tensor += b"J\xff\xff\xff\x7f" * n + b"t(" + b"K\0" * n + b"t\x89ccollections\nOrderedDict\n)RtRu."
    data = head + tensor + pickle.dumps(["k"], 2) + (1).to_bytes(8, "little") + bytes(4)
    return lambda: read_torch_legacy(data)


def tar_of_global_headers(n: int, folder: Path) -> Callable[[], object]:
    """`n` global headers, which hold for each of `n` / 10 members."""
    records = b"".join(b"15 k%07d=xy\n" % i for i in range(n))
    path = folder / f"{n}.tar"
    with path.open("wb") as file:
        head = tarfile.TarInfo("g")
        head.type, head.size = tarfile.XGLTYPE, len(records)
        file.write(head.tobuf() + records + bytes(-len(records) % 512))
        for i in range(n // 10):
            file.write(tarfile.TarInfo(f"a/{i}.png").tobuf())
        file.write(bytes(1024))
    return lambda: archive.members(path)


def tar_of_members(n: int, folder: Path) -> Callable[[], object]:
    path = folder / f"{n}.tar"
    path.write_bytes(b"".join(tarfile.TarInfo(f"a/{i % 7}.png").tobuf() for i in range(n)) + bytes(1024))
    return lambda: archive.members(path)


def zip_of_members(n: int, folder: Path) -> Callable[[], object]:
    path = folder / f"{n}.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i in range(n):
            file.writestr(f"a/{i}.png", b"")
    return lambda: archive.members(path)


def class_names(n: int, folder: Path) -> Callable[[], object]:
    path = folder / f"{n}.txt"
    path.write_text("".join(f"class {i}\n" for i in range(n)))
    return lambda: read_labels(path)


def label_table(n: int, folder: Path) -> Callable[[], object]:
    """Each file with two labels, among files that are not there."""
    path = folder / f"{n}.csv"
    path.write_text("file_name,label\n" + "".join(f"{i // 2}.png,{i % 2}\nno/{i},a\n" for i in range(n)))
    places = [f"{i}.png" for i in range(n)]
    wanted = LabelTables.parse([str(path)])
    return lambda: find_labels(folder, places, wanted)


def result_rows(n: int, name: str, folder: Path) -> Path:
    """A table of `n` results, and a last line that is torn and long."""
    layout = result_layout()
    rows = [ResultRow(f"{i}.png", (("Cat", 0.5),), (), "", "ok", "", 10, 20, layout.model) for i in range(n)]
    path = folder / f"{n}{name}"
    path.write_bytes(encode([layout.columns]) + layout.encode(rows) + bytes(2_000 * n))
    return path


def result_layout() -> Layout:
    return Layout(
        contract=onnx_networks.contract(("Cat", "Dog")), model="0123456789ab", top_k=1, probabilities=False,
        min_confidence=0.0,
    )  # fmt: skip


def resumed_rows(n: int, folder: Path) -> Callable[[], object]:
    """The files are asked for from the last to the first, and then as many that are not there."""
    path = result_rows(n, ".csv", folder)

    def work() -> None:
        with path.open("rb") as file:
            earlier = EarlierRows(file, result_layout())
            for i in reversed(range(n)):
                assert earlier.take(Sample(f"{i}.png", f"{i}.png", 10, 20)) is not None
            assert earlier.take(Sample(f"{n - 1}.png", f"{n - 1}.png", 10, 20)) is not None
            for i in range(n):
                assert earlier.take(Sample(f"x{i}.png", f"x{i}.png", 10, 20)) is None

    return work


def saved_json_lines(n: int, folder: Path) -> Callable[[], object]:
    path = folder / f"{n}.jsonl"
    row = {"path": "a.png", "label": "Cat", "confidence": 0.5, "truth": "", "status": "ok", "error": ""}
    row |= {"size": 1, "mtime_ns": 1, "model": "m"}
    path.write_text((json.dumps(row) + "\n") * n + "[" * n)
    return lambda: list(SavedResults(path))


def saved_csv(n: int, folder: Path) -> Callable[[], object]:
    path = result_rows(n, ".saved.csv", folder)
    return lambda: list(SavedResults(path))


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.process_time()
        with contextlib.suppress(ToolkitError, TorchFileError):
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
        (recipe_of_one_deep_key, 2_000),
        (recipe_of_one_long_word, 20_000),
        (recipe_of_named_layers, 1_000),
        (bundle_of_numbers, 20_000),
        (legacy_torch, 10_000),
        (tar_of_global_headers, 5_000),
        (tar_of_members, 1_000),
        (zip_of_members, 1_000),
        (class_names, 2_000),
        (label_table, 1_000),
        (resumed_rows, 1_000),
        (saved_json_lines, 500),
        (saved_csv, 2_000),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
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
