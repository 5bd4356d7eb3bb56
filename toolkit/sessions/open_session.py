"""A model file -> a session on a device, or on several."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from toolkit.core.coerce import choice
from toolkit.core.errors import MachineError, ModelError, UsageError
from toolkit.core.files import kind_of
from toolkit.core.text import printable
from toolkit.images.decode import Image
from toolkit.sessions import cuda
from toolkit.sessions.backend import Device, Precision, Runtime, check_backend, gpu_numbers
from toolkit.sessions.checked_session import CheckedSession
from toolkit.sessions.cuda_session import CudaSession
from toolkit.sessions.onnx_session import CPU_PROVIDER, OnnxSession
from toolkit.sessions.openvino_session import OpenVinoSession
from toolkit.sessions.resolve import resolve_model
from toolkit.sessions.session import Probabilities, Session, SessionAround
from toolkit.sessions.tflite_session import TfliteSession


def open_session(
    path: Path,
    *,
    device: Device = "auto",
    threads: int | None = None,
    runtime: Runtime | str = Runtime.AUTO,
    precision: Precision | str = Precision.EXACT,
    proving: bool = False,
) -> Session:
    """Open a model file for running.

    Args:
        path: a bundle, a .onnx or a .tflite file.
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU.
        threads: threads within one `run`; None leaves it to the runtime. `run` may be called from many threads.
        runtime: what runs an ONNX file; "auto" is onnxruntime, whatever else is installed.
        proving: the caller compares the values with others; that they are probabilities is not asked here.
        precision: "exact" computes what the file says; "bfloat16" is faster and rounds to 8 bits of mantissa.

    Raises:
        UsageError: device, runtime and precision do not go together, or not with this file.
        ModelError: no model, a damaged one, or one without a contract.
        MachineError: CUDA or bfloat16 was asked for and is not usable; a missing extra.
    """
    runtime, precision = choice(Runtime, runtime, "--runtime"), choice(Precision, precision, "--precision")
    check_backend(device, runtime, precision)
    file = resolve_model(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise ModelError(f"{printable(str(file))}: expected a model, found {kind_of(file)}", hint="give a model file")
    return CheckedSession(_open(file, device, threads, runtime, precision), file, values=not proving)


def _open(file: Path, device: Device, threads: int | None, runtime: Runtime, precision: Precision) -> Session:
    gpus = gpu_numbers(device)
    if file.suffix.lower() == ".tflite":
        if runtime is not Runtime.AUTO:
            raise UsageError(f"--runtime {runtime} runs ONNX files, not {printable(str(file))}", hint="leave it out")
        if gpus:
            raise MachineError(f"{printable(str(file))}: TFLite files run on the CPU alone", hint="leave --device out")
        return TfliteSession(file, threads=threads)
    if runtime is Runtime.OPENVINO:
        return OpenVinoSession(file, precision=precision, threads=threads)
    if device == "cpu":
        return OnnxSession(file, threads=threads)
    sessions = [_with_cuda(file, gpu, insist=device != "auto", threads=threads) for gpu in gpus or (0,)]
    return sessions[0] if len(sessions) == 1 else SeveralSessions(sessions)


def _with_cuda(path: Path, gpu: int, *, insist: bool, threads: int | None) -> Session:
    """On CUDA where that works; else on the CPU with a note why not, or not at all with `insist`."""
    trouble = cuda.problem()
    if trouble is None:
        session = OnnxSession(path, threads=threads, providers=[(cuda.PROVIDER, {"device_id": gpu}), CPU_PROVIDER])
        if session.device == "cuda":
            return CudaSession(session, number=gpu)
        trouble = "onnxruntime made a session without CUDA, though nothing seems to be missing", "toolkit doctor"
    if insist:
        raise MachineError(f"--device cuda: {trouble[0]}", hint=trouble[1])
    session = OnnxSession(path, threads=threads)
    session.note = trouble[0]
    return session


class SeveralSessions(SessionAround):
    """Sessions of one file on several devices. Each thread keeps to one of them, so that each has its own decoders."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        super().__init__(sessions[0])
        self._next = cycle(sessions)
        self._choosing = threading.Lock()
        self._local = threading.local()

    def run(self, images_u8: Image) -> Probabilities:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            with self._choosing:
                session = self._local.session = next(self._next)
        return session.run(images_u8)
