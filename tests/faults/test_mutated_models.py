"""Hundreds of damaged and crafted model files: each is refused with its exit code, or keeps its contract.

Each file is opened and run in a process of its own, so that a crash, a hang and a hunger for memory are seen.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # noqa: F401 - the processes that are forked have it at once
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import onnx_networks
from support.command_line import ROOT, run_cli
from support.mutations import mutated, nudged

from toolkit.core.errors import ToolkitError
from toolkit.model_files.inspect import inspect
from toolkit.sessions.open_session import open_session

Record = Callable[[str, object], None]

TFLITE = ROOT / "tests" / "tflite" / "tiny.tflite"
LIMIT_S = 30
MAX_BYTES = 1 << 30
"""What a process that opens one of these files may hold, onnxruntime and LiteRT included."""

BUG, HUNGRY = 1, 9


def outcome(path: Path, size: int) -> int:
    """Open, run and inspect a model in a process of its own: 0, the exit code of an error, or minus a signal."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = BUG
    try:
        signal.alarm(LIMIT_S)
        before = _peak_bytes()  # what the tests before have left in this process
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = _work(path, size)
        code = code if _peak_bytes() - before < MAX_BYTES else HUNGRY
    finally:
        os._exit(code)


def _peak_bytes() -> int:
    """The most that this process has held since this was last asked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what is held now: proc(5)
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _work(path: Path, size: int) -> int:
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    codes = []
    for work in (
        lambda: open_session(path, device="cpu", threads=1).run(images),
        lambda: inspect(path),
    ):
        try:
            work()
            codes.append(0)
        except ToolkitError as error:
            codes.append(error.exit_code)
    return max(codes)


def tried(files: Iterator[tuple[str, bytes]], suffix: str, size: int, folder: Path) -> Counter[int]:
    """How often each outcome came; a bad one leaves its file behind and is named."""
    found: Counter[int] = Counter()
    bad = []
    for i, (name, data) in enumerate(files):
        path = folder / f"{i}{suffix}"
        path.write_bytes(data)
        code = outcome(path, size)
        found[code] += 1
        if code in (0, 4):
            path.unlink()
        else:
            bad.append(f"{name} ({path}): {code}")
    assert bad == []
    return found


def damaged(seeds: dict[str, bytes], n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    dice = random.Random(seed)
    names = list(seeds)
    for i in range(n):
        name = names[i % len(names)]
        yield f"{name}, mutation {i}", (nudged if i % 3 else mutated)(seeds[name], dice)


def onnx_seeds(folder: Path) -> dict[str, bytes]:
    promise = onnx_networks.contract(size=16)
    onnx_networks.write_mean_network(folder / "mean.onnx", promise)
    onnx_networks.write_conv_network(folder / "conv.onnx", promise, convolutions=(4, 8), dense=8)
    return {name: (folder / name).read_bytes() for name in ("mean.onnx", "conv.onnx")}


@pytest.mark.parametrize("n", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_mutated_onnx_files(record_property: Record, n: int, tmp_path: Path) -> None:
    found = tried(damaged(onnx_seeds(tmp_path), n, seed=600), ".onnx", 16, tmp_path)
    record_property("cases", n)
    assert found[0]
    assert found[4]
    assert found.total() == n


@pytest.mark.parametrize("n", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_mutated_tflite_files(record_property: Record, n: int, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    found = tried(damaged({"tiny": TFLITE.read_bytes()}, n, seed=600), ".tflite", 16, tmp_path)
    record_property("cases", n)
    assert found[0]
    assert found[4]
    assert found.total() == n


# --- crafted ONNX files ------------------------------------------------------------------------------------------


def crafted(change: Callable[[onnx.ModelProto], None], folder: Path) -> bytes:
    path = onnx_networks.write_mean_network(folder / "whole.onnx", onnx_networks.contract(size=16))
    model = onnx.load(path)
    change(model)
    data: bytes = model.SerializeToString()
    return data


def outside(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "weights")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "24")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def shaped(*sides: int) -> Callable[[onnx.ModelProto], None]:
    """A tensor of that shape, made by one node from nothing, takes part in the answer."""

    def change(model: onnx.ModelProto) -> None:
        shape = numpy_helper.from_array(np.array(sides, np.int64), "sides")
        model.graph.initializer.append(shape)
        nodes = [
            helper.make_node("ConstantOfShape", ["sides"], ["nothing"]),
            helper.make_node("ReduceMax", ["nothing"], ["zero"], keepdims=0),
            helper.make_node("Add", ["logits", "zero"], ["sum"]),
        ]
        softmax = model.graph.node[-1]
        softmax.input[0] = "sum"
        for node in reversed(nodes):
            model.graph.node.insert(len(model.graph.node) - 1, node)

    return change


def declared(*sides: int) -> Callable[[onnx.ModelProto], None]:
    """The weights declare a shape that their bytes do not fill."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "weights")
        del tensor.dims[:]
        tensor.dims.extend(sides)

    return change


def operator(name: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type, model.graph.node[0].domain = name, domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def circle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "logits"


def nested(model: onnx.ModelProto) -> None:
    """A graph in an attribute of a graph, 20 times."""
    empty = inner = helper.make_graph([], "g", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=empty)
        inner = helper.make_graph([node], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=empty))


CRAFTED: dict[str, Callable[[onnx.ModelProto], None]] = {
    "weights in ../secret": outside("../secret"),
    "weights in /etc/passwd": outside("/etc/passwd"),
    "weights in /dev/zero": outside("/dev/zero"),
    "weights in a pipe": outside("pipe"),
    "weights behind a link": outside("link"),
    "weights in a missing file": outside("missing"),
    "weights in the model itself": outside("0.onnx"),
    "weights of a negative shape": declared(-1, 2),
    "weights of 2**62 numbers": declared(2**31, 2**31),
    "weights of 2**40 numbers": declared(2**40),
    "weights whose size overflows": declared(2**32, 2**32, 3),
    "a tensor of 2**50 bytes": shaped(2**50),
    "a tensor whose size overflows": shaped(2**33, 2**33),
    "a tensor of a negative size": shaped(-5),
    "an unknown operator": operator("Evil"),
    "an operator of another domain": operator("Evil", "evil.example"),
    "a Python operator": operator("PyOp", "ai.onnx.contrib"),
    "a circle": circle,
    "nested graphs": nested,
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_onnx_files(name: str, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "inside"
    secret.write_bytes(bytes(24))
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(secret)
    path = folder / "0.onnx"
    path.write_bytes(crafted(CRAFTED[name], tmp_path))
    harmless, too_large = "weights in the model itself", "a tensor of 2**50 bytes"
    assert outcome(path, 16) == {harmless: 0, too_large: 8}.get(name, 4)
    done = run_cli("inspect", path, cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr
    assert "bug" not in done.stderr


def test_a_custom_operator_of_tflite_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    data = bytearray(TFLITE.read_bytes())
    from toolkit.model_files import flatbuffer_reader as flatbuffer

    codes = flatbuffer.root(memoryview(bytes(data)), b"TFL3").tables(1)
    changed = 0
    for code in codes:
        for field in (0, 3):
            place = code._field(field)
            if place:
                data[place] = 32  # CUSTOM
                changed += 1
    assert changed
    path = tmp_path / "custom.tflite"
    path.write_bytes(data)
    assert outcome(path, 16) == 4


def test_a_tflite_file_that_declares_gigabytes_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from toolkit.model_files import flatbuffer_reader as flatbuffer

    data = bytearray(TFLITE.read_bytes())
    tensors = flatbuffer.root(memoryview(bytes(data)), b"TFL3").tables(2)[0].tables(0)
    shapes = [(tensor._vector(tensor._field(0))[0], tensor.numbers(0)) for tensor in tensors if tensor._field(0)]
    start, sides = next((start, sides) for start, sides in shapes if sides[1:3] == [7, 7])
    data[start + 12 : start + 16] = (16_711_684).to_bytes(4, "little")
    assert sides[3] < 100
    path = tmp_path / "large.tflite"
    path.write_bytes(data)
    assert outcome(path, 16) == 4
