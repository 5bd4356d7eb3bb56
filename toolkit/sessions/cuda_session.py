"""An ONNX session on a GPU: buffers on the device, two of them in turn, smaller batches where its memory runs out."""

from __future__ import annotations

import queue
import threading
from typing import Any, Final

import numpy as np

from toolkit.core.errors import MachineError
from toolkit.core.text import first_line
from toolkit.images.decode import Image
from toolkit.sessions.onnx_session import OnnxSession
from toolkit.sessions.session import Probabilities, SessionAround

BUFFERS: Final = 2
"""While the network runs on one batch, the next is copied to the device."""

_OUT_OF_MEMORY: Final = ("out of memory", "failed to allocate memory", "out_of_memory", "alloc_failed", "bfcarena")


class CudaSession(SessionAround):
    """Runs the batches of many threads on one device, one at a time, through I/O binding.

    Args:
        session: an open session on the device.
        place: onnxruntime's name of the device's memory.
        number: which of the devices.
    """

    def __init__(self, session: OnnxSession, *, place: str = "cuda", number: int = 0) -> None:
        super().__init__(session)
        self.may_fork = False
        self._session = session
        self._place = place
        self._number = number
        self._most: int | None = None
        self._running = threading.Lock()
        self._buffers: queue.SimpleQueue[dict[int, Any]] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._buffers.put({})

    def run(self, images_u8: Image) -> Probabilities:
        """Probabilities of a batch. One that does not fit into the device's memory is halved, and so are all after it.

        Raises:
            MachineError: not even one image fits.
        """
        size = min(len(images_u8), self._most or len(images_u8))
        parts = []
        at = 0
        while at < len(images_u8):
            try:
                parts.append(self._run(images_u8[at : at + size]))
            except Exception as error:
                if not any(words in str(error).lower() for words in _OUT_OF_MEMORY):
                    raise MachineError(
                        f"the model stopped on {self.device} ({first_line(error)})",
                        hint="toolkit doctor, or --device cpu",
                    ) from None
                if size == 1:
                    raise MachineError(
                        f"{self.device} has too little memory for one image", hint="free its memory, or --device cpu"
                    ) from None
                self._most = size = size // 2
            else:
                at += size
        return np.concatenate(parts)

    def _run(self, images_u8: Image) -> Probabilities:
        import onnxruntime

        buffer = self._buffers.get()
        try:
            n = len(images_u8)
            if n not in buffer:
                buffer.clear()
                buffer[n] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                    images_u8.shape, np.uint8, self._place, self._number
                )
            buffer[n].update_inplace(images_u8)
            binding = self._session.inner.io_binding()
            binding.bind_ortvalue_input(self._session.input, buffer[n])
            binding.bind_output(self._session.output, "cpu")
            with self._running:
                self._session.inner.run_with_iobinding(binding)
            return np.asarray(binding.copy_outputs_to_cpu()[0], np.float32)
        except Exception:
            buffer.clear()
            raise
        finally:
            self._buffers.put(buffer)
