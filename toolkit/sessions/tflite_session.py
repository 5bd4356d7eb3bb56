"""A TFLite file -> `run(batch)`, to check an edge artefact on whole directories."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.core.errors import ModelError, missing_extra
from toolkit.core.files import file_digest
from toolkit.core.text import first_line, printable
from toolkit.images.decode import Image
from toolkit.model_files.contract_io import read_contract
from toolkit.model_files.inspect import largest_tensor
from toolkit.sessions.onnx_session import Port, check_promise
from toolkit.sessions.session import Probabilities

MAX_VALUES: Final = 1 << 27
"""A larger tensor (512 MiB of float32) is not of a classifier of images, but of a damaged or hostile file."""


class TfliteSession:
    """A TFLite file in LiteRT. An interpreter belongs to one thread, so each thread gets its own."""

    arithmetic = ""
    may_fork = True

    def __init__(self, path: Path, *, threads: int | None) -> None:
        self.contract = read_contract(path)
        self.device = "cpu"
        self.note = ""
        self.fingerprint = file_digest(path)
        self.n_bytes = path.stat().st_size
        self._path = path
        self._threads = threads
        self._local = threading.local()
        self._check_promise()

    def _check_promise(self) -> None:
        interpreter = self._interpreter()
        try:
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except UnicodeDecodeError as error:
            raise ModelError(
                f"{printable(str(self._path))}: a damaged TFLite file ({first_line(error)})",
                hint="copy or export it again",
            ) from None
        check_promise(self._path, self.contract, [*map(_port, inputs)], [*map(_port, outputs)])

    def run(self, images_u8: Image) -> Probabilities:
        interpreter = self._interpreter()
        source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        if tuple(source["shape"]) != images_u8.shape:
            interpreter.resize_tensor_input(source["index"], images_u8.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], images_u8)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target["index"]), np.float32)

    def _interpreter(self) -> Any:
        if not hasattr(self._local, "interpreter"):
            try:
                from ai_edge_litert.interpreter import Interpreter
            except ImportError:
                raise missing_extra("ai-edge-litert", "litert", "running a .tflite file") from None
            if (values := largest_tensor(self._path)) > MAX_VALUES:
                raise ModelError(
                    f"{printable(str(self._path))}: declares a tensor of {values:,} values, more than a classifier has",
                    hint="export it again, or check that the copy is complete",
                )
            try:
                interpreter = Interpreter(model_path=str(self._path), num_threads=self._threads)
                interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise ModelError(
                    f"{printable(str(self._path))}: LiteRT cannot load this file ({first_line(error)})",
                    hint="export it again, or check that the copy is complete",
                ) from None
            self._local.interpreter = interpreter
        return self._local.interpreter


def _port(details: dict[str, Any]) -> Port:
    """An interpreter resizes its batch, whatever size the file says."""
    name = np.dtype(details["dtype"]).name
    return "float" if name == "float32" else name, [-1, *map(int, details["shape"][1:])]
