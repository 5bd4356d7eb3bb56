"""A model file -> `run(batch)` on a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import MachineError, ModelError, UsageError
from toolkit.core.files import file_digest
from toolkit.core.text import printable
from toolkit.images.decode import Image
from toolkit.model_files.contract import METADATA_KEY, Contract
from toolkit.model_files.imagenet import imagenet_file, is_imagenet

Device = str
"""auto, cpu, cuda, or some of several GPUs by their numbers: cuda:0,1."""
Runtime = Literal["auto", "onnxruntime", "openvino"]
Precision = Literal["exact", "bfloat16"]
Probabilities = npt.NDArray[np.float32]

BUNDLE_FILE: Final = "bundle.json"
ONNX_FILE: Final = "model.onnx"
CPU_PROVIDER: Final = "CPUExecutionProvider"
Provider = str | tuple[str, dict[str, int]]
Port = tuple[str, list[Any]]
"""An input or output of a graph: its type's name, and its shape."""


class Session(Protocol):
    """One open model file.

    Attributes:
        contract: what the file promises.
        device: where it really runs, "cpu" or "cuda".
        note: why it does not run where it was wished to; "" otherwise.
        fingerprint: SHA-256 (hex) of the file.
        n_bytes: the file's size, most of it weights.
        arithmetic: what else its digits depend on, such as "openvino bfloat16"; "" for the file's own runtime, exact.
        may_fork: whether it still runs in a fork of this process.
    """

    contract: Contract
    device: str
    note: str
    fingerprint: str
    n_bytes: int
    arithmetic: str
    may_fork: bool

    def run(self, images_u8: Image) -> Probabilities:
        """Probabilities of a batch.

        Args:
            images_u8: uint8 (N, H, W, C) as the contract says, N >= 1.

        Returns:
            float32 (N, K), each row sums to 1.
        """


def resolve_model(path: Path) -> Path:
    """The model file that `path` names: itself, the `model.onnx` of a bundle, or that of the name `imagenet`.

    Raises:
        ModelError: nothing there, or nothing that can be run.
        MachineError: `imagenet` cannot be made here.
    """
    if is_imagenet(path):
        return imagenet_file()
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
            hint="toolkit train DATA and toolkit export model --onnx make one of your own classes; "
            "--model imagenet knows 1,000 everyday things",
        )
    if path.suffix.lower() == ".keras":
        raise ModelError(f"{shown}: a .keras file is not run directly", hint=f"toolkit export {shown} --onnx")
    if path.name == BUNDLE_FILE:
        folder = printable(str(path.parent))
        raise ModelError(f"{shown}: expected a bundle's folder, found a file of it", hint=f"--model {folder}")
    if path.suffix.lower() not in (".onnx", ".tflite"):
        raise ModelError(f"{shown}: expected a bundle, a .onnx or a .tflite file", hint="see toolkit export --help")
    return path


def gpu_numbers(device: Device) -> tuple[int, ...] | None:
    """Which GPUs `device` names: (0,) for "cuda", () for "auto" and "cpu", None where it names nothing.

    >>> gpu_numbers("cuda:0,1")
    (0, 1)
    """
    kind, colon, numbers = device.partition(":")
    if not colon:
        return {"auto": (), "cpu": (), "cuda": (0,)}.get(kind)
    several = tuple(int(number) for number in numbers.split(",") if number.isdecimal())
    whole = len(several) == len(set(several)) == numbers.count(",") + 1
    return several if kind == "cuda" and whole else None


def check_backend(device: Device, runtime: Runtime, precision: Precision) -> None:
    """Refuse what does not exist, or does not go together.

    Raises:
        UsageError: it says which, and what does.
    """
    gpus = gpu_numbers(device)
    if gpus is None:
        raise UsageError(f"--device {device}: expected auto, cpu, cuda, or GPUs such as cuda:0,1")
    if runtime not in ("auto", "onnxruntime", "openvino"):
        raise UsageError(f"--runtime {runtime}: expected auto, onnxruntime or openvino")
    if precision not in ("exact", "bfloat16"):
        raise UsageError(f"--precision {precision}: expected exact or bfloat16")
    if precision == "bfloat16" and runtime != "openvino":
        raise UsageError("--precision bfloat16: onnxruntime has none on a CPU", hint="add --runtime openvino")
    if runtime == "openvino" and gpus:
        raise UsageError(
            f"--runtime openvino runs on the CPU, --device {device} does not", hint="leave one of them out"
        )


def open_session(
    path: Path,
    *,
    device: Device = "auto",
    threads: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "exact",
) -> Session:
    """Open a model file for running.

    Args:
        path: a bundle, a .onnx or a .tflite file.
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU.
        threads: threads within one `run`; None leaves it to the runtime. `run` may be called from many threads.
        runtime: what runs an ONNX file; "auto" is onnxruntime, whatever else is installed.
        precision: "exact" computes what the file says; "bfloat16" is faster and rounds to 8 bits of mantissa.

    Raises:
        UsageError: device, runtime and precision do not go together, or not with this file.
        ModelError: no model, a damaged one, or one without a contract.
        MachineError: CUDA or bfloat16 was asked for and is not usable; a missing extra.
    """
    check_backend(device, runtime, precision)
    file = resolve_model(path)
    gpus = gpu_numbers(device)
    if file.suffix.lower() == ".tflite":
        if runtime != "auto":
            raise UsageError(f"--runtime {runtime} runs ONNX files, not {printable(str(file))}", hint="leave it out")
        if gpus:
            raise MachineError(f"{printable(str(file))}: TFLite files run on the CPU alone", hint="leave --device out")
        from toolkit.inference.tflite_session import LiteRtSession

        return LiteRtSession(file, threads=threads)
    if runtime == "openvino":
        from toolkit.inference.openvino_session import OpenVinoSession

        return OpenVinoSession(file, precision=precision, threads=threads)
    if device == "cpu":
        return OnnxSession(file, threads=threads)
    sessions = [_with_cuda(file, gpu, insist=device != "auto", threads=threads) for gpu in gpus or (0,)]
    return sessions[0] if len(sessions) == 1 else SeveralSessions(sessions)


def _with_cuda(path: Path, gpu: int, *, insist: bool, threads: int | None) -> Session:
    """On CUDA where that works; else on the CPU with a note why not, or not at all with `insist`."""
    from toolkit.inference import cuda

    trouble = cuda.problem()
    if trouble is None:
        session = OnnxSession(path, threads=threads, providers=[(cuda.PROVIDER, {"device_id": gpu}), CPU_PROVIDER])
        if session.device == "cuda":
            from toolkit.inference.cuda_session import DeviceSession

            return DeviceSession(session, number=gpu)
        trouble = "onnxruntime made a session without CUDA, though nothing seems to be missing", "toolkit doctor"
    if insist:
        raise MachineError(f"--device cuda: {trouble[0]}", hint=trouble[1])
    session = OnnxSession(path, threads=threads)
    session.note = trouble[0]
    return session


class SeveralSessions:
    """Sessions of one file on several devices. Each thread keeps to one of them, so that each has its own decoders."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        first = sessions[0]
        self.contract = first.contract
        self.device = first.device
        self.note = first.note
        self.fingerprint = first.fingerprint
        self.n_bytes = first.n_bytes
        self.arithmetic = first.arithmetic
        self.may_fork = first.may_fork
        self._next = cycle(sessions)
        self._choosing = threading.Lock()
        self._local = threading.local()

    def run(self, images_u8: Image) -> Probabilities:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            with self._choosing:
                session = self._local.session = next(self._next)
        return session.run(images_u8)


class OnnxSession:
    """An ONNX file in onnxruntime."""

    arithmetic = ""
    may_fork = True

    def __init__(self, path: Path, *, threads: int | None, providers: Sequence[Provider] = (CPU_PROVIDER,)) -> None:
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
        inputs, outputs = (
            [(value.type.removeprefix("tensor(").removesuffix(")"), value.shape) for value in values]
            for values in (self.inner.get_inputs(), self.inner.get_outputs())
        )
        check_promise(path, contract, inputs, outputs)
        return contract

    def run(self, images_u8: Image) -> Probabilities:
        result: Probabilities = self.inner.run([self.output], {self.input: images_u8})[0]
        return result


def check_promise(path: Path, contract: Contract, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Hold what a runtime finds in a file against the file's contract.

    Raises:
        ModelError: it takes or gives something else.
    """
    promised = [*contract.preprocess.shape]
    takes = len(inputs) == 1 and inputs[0][0] == "uint8" and list(inputs[0][1][1:]) == promised
    if not (takes and outputs and outputs[0][0] == "float"):
        found = " to ".join(f"{kind} {shape}" for kind, shape in (*inputs, *outputs))
        raise ModelError(
            f"{printable(str(path))}: the contract promises uint8 [N, {', '.join(map(str, promised))}] to float "
            f"[N, {len(contract.labels)}], found {found}",
            hint="export it again, or bring a foreign file in with toolkit adopt",
        )


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
