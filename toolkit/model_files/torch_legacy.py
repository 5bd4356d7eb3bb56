"""PyTorch's file format before 1.6 -> numpy arrays, without PyTorch and without running anything from the file.

Such a file is a row of pickles (a magic number, a version, the machine's sizes, the tensors, the storages' keys)
followed by the storages' bytes. A pickle is a program; this reader knows the few instructions that a dictionary of
tensors needs, three names, and refuses everything else.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_NAMES: Final = (
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE GLOBAL REDUCE BUILD BINPERSID "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET"
)
_OPCODES: Final = frozenset(_NAMES.split())


class TorchFileError(ValueError):
    """The bytes are not a file of tensors in the old format, or hold something else as well."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    n_values: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


MAX_SIDES: Final = 32
"""Of a tensor."""


class _Fields(dict[str, Any]):
    """Stands for an OrderedDict, which carries attributes of its own."""


def read_torch_legacy(data: bytes) -> Tensors:
    """The tensors of a state dictionary, by name.

    Args:
        data: the whole file.

    Returns:
        float32 or int64 arrays; read-only views of `data`.

    Raises:
        TorchFileError: so it is.
    """
    stream = io.BytesIO(data)
    try:
        magic, version, sizes = (_unpickle(stream) for _ in range(3))
        if magic != _MAGIC or version != _VERSION or not isinstance(sizes, dict) or not sizes.get("little_endian"):
            raise TorchFileError("not PyTorch's file format of before 1.6")
        fields, keys = _unpickle(stream), _unpickle(stream)
    except TorchFileError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise TorchFileError(f"damaged: {type(error).__name__}: {error}") from None
    if not isinstance(fields, _Fields) or not all(isinstance(value, _Tensor) for value in fields.values()):
        raise TorchFileError("expected a dictionary of tensors")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in [*keys, *fields]):
        raise TorchFileError("expected names that are text")
    storages = {tensor.storage.key: tensor.storage for tensor in fields.values()}
    arrays = _storages(data, stream.tell(), keys, storages)
    return {name: _view(arrays[tensor.storage.key], tensor) for name, tensor in fields.items()}


def _unpickle(stream: io.BytesIO) -> Any:
    start = stream.tell()
    end = len(stream.getbuffer())
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise TorchFileError(f"the instruction {opcode.name} does not belong into a file of tensors")
        if (
            opcode.name in ("LONG_BINPUT", "LONG_BINGET") and int(argument or 0) > end
        ):  # would take memory without bound
            raise TorchFileError("damaged: a reference beyond the end")
    stop = stream.tell()
    value = _Restricted(io.BytesIO(stream.getbuffer()[start:stop])).load()
    stream.seek(stop)
    return value


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _Fields,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch", "LongStorage"): np.dtype("<i8"),
        }
        if (module, name) not in known:
            raise TorchFileError(f"{module}.{name} does not belong into a file of tensors")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, n_values, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or view is not None:
            raise TorchFileError("a storage of an unknown kind")
        return _Storage(key, dtype, _count(n_values))


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], grad: bool, hooks: _Fields
) -> _Tensor:
    """Stands for PyTorch's function of that name; the last two matter for training alone."""
    del grad, hooks
    if not isinstance(storage, _Storage):
        raise TorchFileError("a tensor without a storage")
    if len(shape) > MAX_SIDES or len(shape) != len(strides):
        raise TorchFileError("a tensor without a shape")
    sizes, steps = tuple(map(_count, shape)), tuple(map(_count, strides))
    if 0 in sizes:
        raise TorchFileError("a tensor without a shape")
    return _Tensor(storage, _count(offset), sizes, steps)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise TorchFileError(f"{value!r:.40} is not a number of values")
    return value


def _storages(data: bytes, start: int, keys: list[str], storages: dict[str, _Storage]) -> Tensors:
    """The storages' values, each after its own count, in the order of `keys`; nothing may follow the last one."""
    if sorted(keys) != sorted(storages):
        raise TorchFileError("damaged: the storages are not those that the tensors name")
    arrays = {}
    for key in keys:
        storage = storages[key]
        end = start + 8 + storage.n_values * storage.dtype.itemsize
        if end > len(data) or int.from_bytes(data[start : start + 8], "little") != storage.n_values:
            raise TorchFileError("damaged: a storage is shorter than its tensor")
        arrays[key] = np.frombuffer(data, storage.dtype, storage.n_values, start + 8)
        start = end
    if start != len(data):
        raise TorchFileError("damaged: something follows the last storage")
    return arrays


def _view(values: npt.NDArray[Any], tensor: _Tensor) -> npt.NDArray[Any]:
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(values) or math.prod(tensor.shape) > len(values):
        raise TorchFileError("damaged: a tensor reaches beyond its storage")
    steps = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False)
