"""What can be tested of CUDA without a GPU: the choice, the fallback, the messages, the bindings on the CPU device."""

from __future__ import annotations

import ctypes
import re
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import ROOT
from support.onnx_networks import contract, write_conv_network

from toolkit.core.errors import MachineError
from toolkit.sessions import cuda
from toolkit.sessions.cuda_session import CudaSession
from toolkit.sessions.onnx_session import OnnxSession
from toolkit.sessions.open_session import open_session

GPU = ["CUDAExecutionProvider", "CPUExecutionProvider"]
ONE = {"onnxruntime-gpu"}


class Driver:
    """NVIDIA's driver library, as far as it is asked."""

    def __init__(self, *, start: int = 0, version: int = 13000, devices: int = 1) -> None:
        self.start, self.version, self.devices = start, version, devices

    def cuInit(self, _flags: int) -> int:  # noqa: N802
        return self.start

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = self.version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = self.devices
        return 0


def loader(driver: Driver | None = None, missing: tuple[str, ...] = ()) -> cuda.Load:
    def load(library: str) -> Any:
        if library in missing:
            raise OSError(library)
        return driver or Driver()

    return load


@pytest.mark.parametrize(
    ("arguments", "words", "repair"),
    [
        ({"packages": {"onnxruntime", "onnxruntime-gpu"}}, "both installed", "uninstall"),
        ({"providers": ["CPUExecutionProvider"]}, "has no CUDA", "onnxruntime-gpu"),
        ({"load": loader(missing=("libcuda.so.1",))}, "no NVIDIA driver", "580"),
        ({"load": loader(Driver(start=100))}, "no NVIDIA GPU", "nvidia-smi"),
        ({"load": loader(Driver(start=999))}, "CUDA error 999", "nvidia-smi"),
        ({"load": loader(Driver(version=12040))}, "too old: it knows CUDA 12.4, needed is 13", "580"),
        ({"load": loader(Driver(devices=0))}, "no NVIDIA GPU", "CUDA_VISIBLE_DEVICES"),
        (
            {"load": loader(missing=("libcublas.so.13", "libcudnn.so.9"))},
            "missing: libcublas.so.13 (nvidia-cublas), libcudnn.so.9 (nvidia-cudnn-cu13)",
            "toolkit-images[cuda]",
        ),
    ],
)
def test_every_cause_is_named(arguments: dict[str, Any], words: str, repair: str) -> None:
    found = cuda.problem(**{"providers": GPU, "packages": ONE, "load": loader(), **arguments})
    assert found is not None
    assert words in found[0]
    assert repair in found[1]


def test_nothing_in_the_way() -> None:
    assert cuda.problem(providers=GPU, packages=ONE, load=loader()) is None


def test_the_extra_holds_every_library() -> None:
    """onnxruntime-gpu's own extras leave cuBLAS out."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[~>=;\[]", line)[0].strip() for line in extras["cuda"]}
    assert {package for _, package in cuda.LIBRARIES} <= named


def test_insisting_and_falling_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_conv_network(tmp_path / "model.onnx", contract(size=8), convolutions=())
    monkeypatch.setattr(cuda, "problem", lambda: ("the cable is missing", "buy one"))
    with pytest.raises(MachineError, match="the cable is missing") as caught:
        open_session(model, device="cuda")
    assert caught.value.hint == "buy one"
    session = open_session(model, device="auto")
    assert (session.device, session.note) == ("cpu", "the cable is missing")
    assert open_session(model, device="cpu").note == ""


def test_a_session_that_only_claims_to_be_on_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime falls back without an error; that is noticed."""
    if cuda.problem() is None:
        pytest.skip("CUDA works here")
    model = write_conv_network(tmp_path / "model.onnx", contract(size=8), convolutions=())
    monkeypatch.setattr(cuda, "problem", lambda: None)
    with pytest.raises(MachineError, match="without CUDA"):
        open_session(model, device="cuda")


def test_bindings_give_the_same_from_many_threads(tmp_path: Path) -> None:
    model = write_conv_network(tmp_path / "model.onnx", contract(size=16), convolutions=(4,))
    plain = OnnxSession(model, threads=1)
    bound = CudaSession(plain, place="cpu")
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    expected = plain.run(images)
    found = {}

    def work(first: int) -> None:
        for n in (1, 5, 10, 7):
            found[first, n] = bound.run(images[first : first + n])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    for (first, n), p in found.items():
        assert np.allclose(p, expected[first : first + n], atol=1e-6)


def test_out_of_memory_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_conv_network(tmp_path / "model.onnx", contract(size=16), convolutions=(4,))
    plain = OnnxSession(model, threads=1)
    bound = CudaSession(plain, place="cpu")
    images = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    real, sizes = bound._run, []

    def run(batch: np.ndarray[Any, np.dtype[np.uint8]], fits: int = 10) -> Any:
        sizes.append(len(batch))
        if len(batch) > fits:
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        return real(batch)

    monkeypatch.setattr(bound, "_run", run)
    assert np.allclose(bound.run(images), plain.run(images), atol=1e-6)
    assert sizes == [50, 25, 12, *[6] * 8, 2]
    sizes.clear()
    bound.run(images)
    assert sizes == [*[6] * 8, 2]
    monkeypatch.setattr(bound, "_run", lambda batch: run(batch, 0))
    with pytest.raises(MachineError, match="too little memory"):
        bound.run(images)
