"""What every open model file can do, whatever runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from toolkit.images.decode import Image
from toolkit.model_files.contract import Contract

Probabilities = npt.NDArray[np.float32]


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
        """Probabilities of a batch; may be called from many threads.

        Args:
            images_u8: uint8 (N, H, W, C) as the contract says, N >= 1.

        Returns:
            float32 (N, K), each row sums to 1.
        """


class SessionAround:
    """The attributes of a session, for one that runs it in a way of its own.

    Args:
        inner: the session that is described.
    """

    def __init__(self, inner: Session) -> None:
        self.contract = inner.contract
        self.device = inner.device
        self.note = inner.note
        self.fingerprint = inner.fingerprint
        self.n_bytes = inner.n_bytes
        self.arithmetic = inner.arithmetic
        self.may_fork = inner.may_fork
