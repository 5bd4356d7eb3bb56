"""Whatever runs a model: each batch that it gives is held against the contract, and its errors are put into words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolkit.core.errors import MachineError, ModelError, ToolkitError
from toolkit.core.text import first_line, printable
from toolkit.images.decode import Image
from toolkit.sessions.session import Probabilities, Session, SessionAround

_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "bad allocation")


class CheckedSession(SessionAround):
    """A session whose batches are checked: shape, range and sum.

    A graph that takes one batch size alone is run in that size, the last batch filled up.

    Args:
        session: an open session.
        path: of the model file, for messages.
        values: whether range and sum are checked, too.
    """

    def __init__(self, session: Session, path: Path, *, values: bool = True) -> None:
        super().__init__(session)
        self.inner = session
        self._path = path
        self._values = values
        n_classes = len(session.contract.labels)
        exact = session.contract.quantization == "float32" and not session.arithmetic
        self._tolerance = 0.01 if exact else max(0.01, n_classes / 512)

    def run(self, images_u8: Image) -> Probabilities:
        """Probabilities of a batch; a row without a number in it is left to the caller.

        Raises:
            ModelError: the model stopped, or gave something else than probabilities.
            MachineError: the device stopped, or memory ran out.
        """
        size = self.contract.batch
        if not size:
            return self._run(images_u8)
        parts = []
        for at in range(0, len(images_u8), size):
            part = images_u8[at : at + size]
            filled = np.concatenate([part, np.repeat(part[:1], size - len(part), 0)]) if len(part) < size else part
            parts.append(self._run(filled)[: len(part)])
        return np.concatenate(parts)

    def _run(self, images_u8: Image) -> Probabilities:
        try:
            found = np.asarray(self.inner.run(images_u8))
        except (ToolkitError, MemoryError):
            raise
        except Exception as error:
            text = first_line(error)
            if any(words in text.lower() for words in _NO_MEMORY):
                raise MachineError(
                    f"{printable(str(self._path))}: too little memory to run it ({text})", hint="--batch-size 1"
                ) from None
            raise ModelError(
                f"{printable(str(self._path))}: the model stopped while it ran ({text})", hint=_AGAIN
            ) from None
        return self._checked(found, len(images_u8))

    def _checked(self, found: Probabilities, n: int) -> Probabilities:
        """What a contract allows, within 0..1: noise beyond is cut off, so that a table holds shares alone."""
        wanted = (n, len(self.contract.labels))
        if found.shape != wanted:
            raise self._broken(f"expected an output of {list(wanted)} for {n} images, found {list(found.shape)}")
        if not self._values:
            return found
        low, high = 0 - self._tolerance, 1 + self._tolerance
        sums = found.sum(axis=1)
        finite = np.isfinite(sums)
        smallest, largest = found.min(axis=1), found.max(axis=1)
        wrong = finite & ((smallest < low) | (largest > high) | (np.abs(sums - 1) > self._tolerance))
        if wrong.any():
            row = found[int(np.flatnonzero(wrong)[0])]
            shown = f"values from {row.min():.6g} to {row.max():.6g} that sum to {row.sum():.6g}"
            raise self._broken(f"expected probabilities that sum to 1, found {shown}")
        beyond = (smallest < 0).any() or (largest > 1).any()
        return found.clip(0, 1) if beyond else found

    def _broken(self, what: str) -> ModelError:
        return ModelError(f"{printable(str(self._path))}: breaks its contract: {what}", hint=_AGAIN)


_AGAIN = "export it again, or bring a foreign file in with toolkit adopt"
