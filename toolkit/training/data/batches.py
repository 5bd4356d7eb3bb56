"""Decoded images, or their features -> shuffled batches.

An epoch reads a file through a memory map and gives the pages back as it goes, so that memory does not grow with the
data.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

_GIVE_BACK: Final = 64 << 20  # bytes read through the map before its pages are given back
_CHUNK: Final = 8 << 20  # bytes of ready batches that are handed over at once
_TOGETHER: Final = 16  # batches that are handed over at once at most


class Rows:
    """A file of equal rows, read through a memory map.

    Args:
        path: raw values, one row after the other.
        shape: of one row, such as (H, W, C).
        dtype: of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows: npt.NDArray[Any] = np.frombuffer(self._map, dtype).reshape(-1, *shape)
        self._read = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return self._rows.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self._rows.dtype

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A copy of some rows: (*rows.shape, *self.shape)."""
        taken: npt.NDArray[Any] = self._rows[rows]
        self._read += taken.nbytes
        if self._read > _GIVE_BACK and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return taken


class Held:
    """Rows in memory."""

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self._rows = rows
        self.shape: tuple[int, ...] = rows.shape[1:]
        self.dtype = rows.dtype

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A copy of some rows: (*rows.shape, *self.shape)."""
        taken: npt.NDArray[Any] = self._rows[rows]
        return taken


class View(Protocol):
    """What a network is fed instead of the images themselves, such as augmented ones."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what it makes of one image."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""

    def __call__(self, images: Images, seed: tuple[int, ...]) -> npt.NDArray[Any]:
        """What it makes of a batch: (B, H, W, C) -> (B, *shape); `seed` is of this batch of this epoch."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Batches of one subset.

    Attributes:
        source: where the images are, or their features.
        rows: (N,) rows of `source`.
        labels: (N,) class indices.
        batch_size: images in a batch; the last one of an epoch may be smaller.
        steps: batches of an epoch at most; 0 means all.
        seed: epochs are shuffled from it; None keeps the order.
        view: what is made of the rows before they are handed over; None hands them over as they are.
    """

    source: Rows | Held
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    batch_size: int
    steps: int = 0
    seed: int | None = None
    view: View | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is handed over of one image."""
        return (self.view or self.source).shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that are handed over."""
        return (self.view or self.source).dtype

    @property
    def n_images(self) -> int:
        """Images of one epoch."""
        return min(len(self.rows), self.steps * self.batch_size) if self.steps else len(self.rows)

    @property
    def n_steps(self) -> int:
        """Batches of one epoch."""
        return -(-self.n_images // self.batch_size)

    @property
    def together(self) -> int:
        """Batches that are handed over at once: one by one would cost more than the training of a small network."""
        return max(1, min(_TOGETHER, _CHUNK // (math.prod(self.shape) * self.dtype.itemsize * self.batch_size)))

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """(n_images,) positions in `rows`, in the order of epoch 0, 1, ..."""
        if self.seed is None:
            return np.arange(self.n_images)
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))[: self.n_images]

    def chunks(self, epoch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """The batches of one epoch, several at once: (m, B, *row), int64 (m, B); the last may be short."""
        order = self.order(epoch)
        whole, step = len(order) // self.batch_size * self.batch_size, self.together * self.batch_size
        for start in range(0, whole, step):
            part = order[start : min(start + step, whole)].reshape(-1, self.batch_size)
            yield self._given(part, epoch, start), self.labels[part]
        if whole < len(order):
            part = order[whole:].reshape(1, -1)
            yield self._given(part, epoch, whole), self.labels[part]

    def _given(self, part: npt.NDArray[np.int64], epoch: int, start: int) -> npt.NDArray[Any]:
        """What is handed over of the batches `part`, positions (m, B); they begin at `start` in the epoch's order."""
        if self.view is None:
            return self.source.take(self.rows[part])
        seeds = ((self.seed or 0, epoch, start + i * self.batch_size) for i in range(len(part)))
        return np.stack(
            [self.view(self.source.take(self.rows[batch]), seed) for batch, seed in zip(part, seeds, strict=True)]
        )


def spread(indices: Sequence[int], n: int) -> list[int]:
    """At most `n` of `indices`, evenly spread.

    >>> spread(range(10), 3)
    [0, 3, 6]
    """
    return [indices[i * len(indices) // n] for i in range(n)] if len(indices) > n else list(indices)
