"""A model file -> `run(batch)` on a device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import MachineError, ModelError
from toolkit.core.files import file_digest
from toolkit.core.text import printable
from toolkit.images.decode import Image
from toolkit.model_files.contract import METADATA_KEY, Contract

Device = Literal["auto", "cpu", "cuda"]
Probabilities = npt.NDArray[np.float32]

BUNDLE_FILE: Final = "bundle.json"
ONNX_FILE: Final = "model.onnx"
CPU_PROVIDER: Final = "CPUExecutionProvider"


class Session(Protocol):
    """One open model file.

    Attributes:
        contract: what the file promises.
        device: where it really runs, "cpu" or "cuda".
        note: why it does not run where it was wished to; "" otherwise.
        fingerprint: SHA-256 (hex) of the file.
        n_bytes: the file's size, most of it weights.
    """

    contract: Contract
    device: str
    note: str
    fingerprint: str
    n_bytes: int

    def run(self, images_u8: Image) -> Probabilities:
        """Probabilities of a batch.

        Args:
            images_u8: uint8 (N, H, W, C) as the contract says, N >= 1.

        Returns:
            float32 (N, K), each row sums to 1.
        """


def resolve_model(path: Path) -> Path:
    """The model file that `path` names: itself, or the `model.onnx` of a bundle.

    Raises:
        ModelError: nothing there, or nothing that can be run.
    """
    shown = printable(str(path))
    if path.is_dir():
        if (path / ONNX_FILE).is_file():
            return path / ONNX_FILE
        if (path / BUNDLE_FILE).is_file():
            raise ModelError(f"{shown}: this bundle has no {ONNX_FILE} yet", hint=f"toolkit export {shown} --onnx")
        raise ModelError(
            f"{shown}: expected a bundle or a model file, found a folder without {BUNDLE_FILE}",
            hint="give --model a bundle made by toolkit train, or a .onnx or .tflite file",
        )
    if not path.exists():
        raise ModelError(
            f"{shown}: no model there",
            hint="toolkit train makes one, toolkit export --onnx completes it; or see --model",
        )
    if path.suffix.lower() == ".keras":
        raise ModelError(f"{shown}: a .keras file is not run directly", hint=f"toolkit export {shown} --onnx")
    if path.name == BUNDLE_FILE:
        folder = printable(str(path.parent))
        raise ModelError(f"{shown}: expected a bundle's folder, found a file of it", hint=f"--model {folder}")
    if path.suffix.lower() not in (".onnx", ".tflite"):
        raise ModelError(f"{shown}: expected a bundle, a .onnx or a .tflite file", hint="see toolkit export --help")
    return path


def open_session(path: Path, *, device: Device = "auto", threads: int | None = None) -> Session:
    """Open a model file for running.

    Args:
        path: a bundle, a .onnx or a .tflite file.
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU.
        threads: threads within one `run`; None leaves it to the runtime. `run` may be called from many threads.

    Raises:
        ModelError: no model, a damaged one, or one without a contract.
        MachineError: CUDA was asked for and is not usable; a missing extra.
    """
    file = resolve_model(path)
    if file.suffix.lower() == ".tflite":
        if device == "cuda":
            raise MachineError(f"{printable(str(file))}: TFLite files run on the CPU alone", hint="leave --device out")
        from toolkit.inference.tflite_session import LiteRtSession

        return LiteRtSession(file, threads=threads)
    if device == "cpu":
        return OnnxSession(file, threads=threads)
    return _with_cuda(file, insist=device == "cuda", threads=threads)


def _with_cuda(path: Path, *, insist: bool, threads: int | None) -> Session:
    """On CUDA where that works; else on the CPU with a note why not, or not at all with `insist`."""
    from toolkit.inference import cuda

    trouble = cuda.problem()
    if trouble is None:
        session = OnnxSession(path, threads=threads, providers=[cuda.PROVIDER, CPU_PROVIDER])
        if session.device == "cuda":
            from toolkit.inference.cuda_session import DeviceSession

            return DeviceSession(session)
        trouble = "onnxruntime made a session without CUDA, though nothing seems to be missing", "toolkit doctor"
    if insist:
        raise MachineError(f"--device cuda: {trouble[0]}", hint=trouble[1])
    session = OnnxSession(path, threads=threads)
    session.note = trouble[0]
    return session


class OnnxSession:
    """An ONNX file in onnxruntime."""

    def __init__(self, path: Path, *, threads: int | None, providers: Sequence[str] = (CPU_PROVIDER,)) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.fingerprint = file_digest(path)
        self.n_bytes = path.stat().st_size
        try:
            self.inner: Any = onnxruntime.InferenceSession(os.fspath(path), options, providers=list(providers))
        except Exception as error:
            raise ModelError(
                f"{printable(str(path))}: onnxruntime cannot load this file ({first_line(error)})",
                hint="export it again, or check that the copy is complete",
            ) from None
        self.device = "cpu" if self.inner.get_providers()[0] == CPU_PROVIDER else "cuda"
        self.note = ""
        self.contract = self._contract(path)
        self.input: str = self.inner.get_inputs()[0].name
        self.output: str = self.inner.get_outputs()[0].name

    def _contract(self, path: Path) -> Contract:
        text = self.inner.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise missing_contract(path)
        contract = Contract.from_json(text, source=printable(str(path)))
        inputs, outputs = self.inner.get_inputs(), self.inner.get_outputs()
        promised = [*contract.preprocess.shape]
        found = [
            f"{value.type.removeprefix('tensor(').removesuffix(')')} {value.shape}" for value in (*inputs, *outputs)
        ]
        if (
            len(inputs) != 1
            or not outputs
            or inputs[0].type != "tensor(uint8)"
            or outputs[0].type != "tensor(float)"
            or list(inputs[0].shape[1:]) != promised
        ):
            raise ModelError(
                f"{printable(str(path))}: the contract promises uint8 [N, {', '.join(map(str, promised))}] to float "
                f"[N, {len(contract.labels)}], found {' to '.join(found)}",
                hint="export it again, or bring a foreign file in with toolkit adopt",
            )
        return contract

    def run(self, images_u8: Image) -> Probabilities:
        result: Probabilities = self.inner.run([self.output], {self.input: images_u8})[0]
        return result


def missing_contract(path: Path) -> ModelError:
    """The error for a model file that says nothing about its input and labels."""
    return ModelError(
        f"{printable(str(path))}: this file carries no toolkit contract (labels, input size, resize policy)",
        hint=f"toolkit adopt {printable(str(path))} --labels labels.txt --image-size HxW",
    )


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error of another library, cut to `limit` characters."""
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
