"""An ONNX file in OpenVINO: the file's contract, another arithmetic."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.core.errors import MachineError, ModelError, missing_extra
from toolkit.core.files import file_digest
from toolkit.core.machine import usable_cpus
from toolkit.core.text import first_line, printable
from toolkit.images.decode import Image
from toolkit.model_files.contract_io import read_contract
from toolkit.sessions.backend import Precision
from toolkit.sessions.onnx_session import check_promise
from toolkit.sessions.session import Probabilities

SIZES: Final = (64, 16, 4, 1)
"""The batches that a network is compiled for. With the batch left open OpenVINO is up to a third slower."""

_ELEMENT_TYPE: Final = {Precision.EXACT: "f32", Precision.BFLOAT16: "bf16"}


def has_bfloat16() -> bool:
    """Whether OpenVINO, which must be installed, computes in bfloat16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """Runs the batches of many threads, as many at once as there are processors.

    Args:
        path: a .onnx file.
        precision: "exact" is float32 (and int8 where the file says so); "bfloat16" rounds what the file has in float32.
        threads: threads within one `run`; None gives all processors to one `run`.

    Raises:
        MachineError: openvino is not installed, or this processor has no bfloat16.
        ModelError: a file without a contract, or one that OpenVINO cannot load.
    """

    device = "cpu"
    note = ""
    may_fork = False

    def __init__(self, path: Path, *, precision: Precision, threads: int | None) -> None:
        try:
            import openvino
        except ImportError:
            raise missing_extra("openvino", "openvino", "--runtime openvino") from None
        self.contract = read_contract(path)
        self.fingerprint = file_digest(path)
        self.n_bytes = path.stat().st_size
        self.arithmetic = "openvino" if precision is Precision.EXACT else f"openvino {precision}"
        self._path = path
        self._core = openvino.Core()
        if precision is Precision.BFLOAT16 and not has_bfloat16():
            raise MachineError(
                "--precision bfloat16: this processor does not compute in bfloat16",
                hint="leave --precision out; it takes AVX-512 BF16 or AMX on x86-64, or BF16 on Arm",
            )
        streams = usable_cpus() if threads is not None else 1
        self._settings = {
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPE[precision],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads if threads is not None else usable_cpus(),
            "ENABLE_CPU_PINNING": False,  # another program may run on the same processors
        }
        self._compiled: dict[int, Any] = {}
        self._compiling = threading.Lock()
        self._local = threading.local()
        self._check_promise()

    def run(self, images_u8: Image) -> Probabilities:
        parts = []
        at = 0
        while at < len(images_u8):
            sizes = (self.contract.batch,) if self.contract.batch else SIZES
            size = next(size for size in sizes if size <= len(images_u8) - at)
            request = self._request(size)
            parts.append(np.array(request.infer([images_u8[at : at + size]], share_inputs=True)[0], np.float32))
            at += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _request(self, size: int) -> Any:
        """This thread's own request for batches of `size`."""
        requests: dict[int, Any] = self._local.__dict__.setdefault("requests", {})
        if size not in requests:
            with self._compiling:
                if size not in self._compiled:
                    self._compiled[size] = self._compile(size)
            requests[size] = self._compiled[size].create_infer_request()
        return requests[size]

    def _read(self) -> Any:
        try:
            return self._core.read_model(self._path)
        except Exception as error:
            raise self._refused(error) from None

    def _compile(self, size: int) -> Any:
        model = self._read()
        try:
            model.reshape([size, *self.contract.preprocess.shape])
            return self._core.compile_model(model, "CPU", self._settings)
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ModelError:
        return ModelError(
            f"{printable(str(self._path))}: OpenVINO cannot load this file ({first_line(error)})",
            hint="--runtime onnxruntime, or export the file again",
        )

    def _check_promise(self) -> None:
        model = self._read()
        names = {"u8": "uint8", "f32": "float"}
        found = [
            (
                names.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
                [length.get_length() if length.is_static else "N" for length in port.partial_shape],
            )
            for port in (*model.inputs, *model.outputs)
        ]
        check_promise(self._path, self.contract, found[: len(model.inputs)], found[len(model.inputs) :])
