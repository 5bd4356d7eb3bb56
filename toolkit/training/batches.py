"""Samples -> decoded once -> shuffled batches.

Every picture is decoded once, in parallel, through the one decoder, into a file of raw uint8 pixels that later runs on
the same pictures use again. An epoch reads it through a memory map and gives the pages back as it goes, so that memory
does not grow with the data.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.core.files import atomic_write
from toolkit.core.machine import usable_cpus
from toolkit.core.progress import SILENT, Progress
from toolkit.images.decode import DecodeError, decode
from toolkit.images.spec import Preprocess
from toolkit.training.dataset import Dataset, File

Images = npt.NDArray[np.uint8]

_VERSION: Final = 1
_SLICE: Final = 64  # files that one worker decodes between two reports
_GIVE_BACK: Final = 64 << 20  # bytes read through the map before its pages are given back
_CHUNK: Final = 8 << 20  # bytes of ready batches that are handed over at once
_TOGETHER: Final = 16  # batches that are handed over at once at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """The decoded pictures of a data set, in a file.

    Attributes:
        path: raw uint8, row i holds file i of the data set; rows of broken files are not used.
        spec: what they were decoded to.
        errors: per file, why it could not be decoded; "" where it could.
        digests: per file, SHA-256 (hex) of its bytes; "" where it could not be read.
        reused: whether an earlier run had decoded them.
    """

    path: Path
    spec: Preprocess
    errors: tuple[str, ...]
    digests: tuple[str, ...]
    reused: bool

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self.errors) * _row_bytes(self.spec)


def decode_all(
    dataset: Dataset, spec: Preprocess, cache_dir: Path, *, workers: int = 0, progress: Progress = SILENT
) -> Decoded:
    """Decode every file of `dataset` into a file below `cache_dir`, or find it there, if nothing has changed since.

    A file that cannot be decoded is no error: its reason is in `errors`.

    Args:
        workers: decoding threads; 0 means one per usable CPU.
    """
    folder = cache_dir / f"{_safe(dataset.root.name)}-{_key(str(dataset.root), _spec_key(spec))[:16]}"
    name = _key(*(f"{f.path}\0{f.size}\0{f.mtime_ns}" for f in dataset.files))[:32]
    pixels, index = folder / f"{name}.u8", folder / f"{name}.json"
    known = _read_index(index, pixels, len(dataset.files), spec)
    if known is not None:
        return Decoded(path=pixels, spec=spec, errors=known[0], digests=known[1], reused=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(pixels) as temporary:
        errors, digests = _decode_into(temporary, dataset, spec, workers or usable_cpus(), progress)
    with atomic_write(index) as temporary:
        sparse = {i: error for i, error in enumerate(errors) if error}
        temporary.write_text(json.dumps({"errors": sparse, "digests": digests}), encoding="ascii")
    for old in folder.iterdir():  # what the same pictures gave before they changed; a running training keeps its map
        if old.stem != name and old.suffix in (".u8", ".json"):
            old.unlink(missing_ok=True)
    return Decoded(path=pixels, spec=spec, errors=tuple(errors), digests=tuple(digests), reused=False)


def _decode_into(
    path: Path, dataset: Dataset, spec: Preprocess, workers: int, progress: Progress
) -> tuple[list[str], list[str]]:
    files, row_bytes = dataset.files, _row_bytes(spec)
    root = str(dataset.root)
    cv2.setNumThreads(1)

    def work(start: int) -> list[tuple[str, str]]:
        return [_decode_row(handle, i * row_bytes, root, files[i], spec) for i in range(start, min(start + _SLICE, n))]

    n = len(files)
    results: list[tuple[str, str]] = []
    handle = os.open(path, os.O_RDWR)
    progress.start("decoding", n, "pictures")
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, n * row_bytes)  # a full disk is an error now, and no crash of a map later
        else:
            os.truncate(handle, n * row_bytes)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for part in pool.map(work, range(0, n, _SLICE)):
                    results += part
                    progress.advance(len(part))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        os.close(handle)
        progress.finish()
    return [error for error, _ in results], [digest for _, digest in results]


def _decode_row(handle: int, offset: int, root: str, file: File, spec: Preprocess) -> tuple[str, str]:
    """Decode one file to its row; the reason if that fails, and the digest of its bytes."""
    try:
        with open(f"{root}/{file.path}", "rb") as opened:  # noqa: PTH123  (twice as fast, once per picture)
            data = opened.read()
    except OSError as error:
        return f"unreadable: {error.strerror}", ""
    digest = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data, spec)
    except DecodeError as error:
        return error.message, digest
    os.pwrite(handle, image.data, offset)
    return "", digest


def _read_index(index: Path, pixels: Path, n: int, spec: Preprocess) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    try:
        fields = json.loads(index.read_text(encoding="ascii"))
        whole = pixels.stat().st_size == n * _row_bytes(spec)
        errors = tuple(fields["errors"].get(str(i), "") for i in range(n))
        digests = tuple(fields["digests"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return (errors, digests) if whole and len(digests) == n else None


def _row_bytes(spec: Preprocess) -> int:
    return spec.height * spec.width * spec.channels


def _spec_key(spec: Preprocess) -> str:
    return f"{_VERSION} {cv2.__version__} {spec.height}x{spec.width} {spec.colour} {spec.resize}"


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode(errors="surrogateescape") + b"\0\0")
    return digest.hexdigest()


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:40] or "data"


class Pictures:
    """The rows of a `Decoded`, read through a memory map."""

    def __init__(self, decoded: Decoded) -> None:
        with decoded.path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows: Images = np.frombuffer(self._map, np.uint8).reshape(-1, *decoded.spec.shape)
        self._read = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one picture."""
        height, width, channels = self._rows.shape[1:]
        return height, width, channels

    def take(self, rows: npt.NDArray[np.int64]) -> Images:
        """A copy of some rows: uint8 (*rows.shape, H, W, C)."""
        taken: Images = self._rows[rows]
        self._read += taken.nbytes
        if self._read > _GIVE_BACK and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return taken


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Batches of one subset.

    Attributes:
        pictures: where the pixels are.
        rows: (N,) rows of `pictures`.
        labels: (N,) class indices.
        batch_size: pictures in a batch; the last one of an epoch may be smaller.
        steps: batches of an epoch at most; 0 means all.
        seed: epochs are shuffled from it; None keeps the order.
    """

    pictures: Pictures
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    batch_size: int
    steps: int = 0
    seed: int | None = None

    @property
    def n_pictures(self) -> int:
        """Pictures of one epoch."""
        return min(len(self.rows), self.steps * self.batch_size) if self.steps else len(self.rows)

    @property
    def n_steps(self) -> int:
        """Batches of one epoch."""
        return -(-self.n_pictures // self.batch_size)

    @property
    def together(self) -> int:
        """Batches that are handed over at once: one by one would cost more than the training of a small network."""
        return max(1, min(_TOGETHER, _CHUNK // (math.prod(self.pictures.shape) * self.batch_size)))

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """(n_pictures,) positions in `rows`, in the order of epoch 0, 1, ..."""
        if self.seed is None:
            return np.arange(self.n_pictures)
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))[: self.n_pictures]

    def chunks(self, epoch: int) -> Iterator[tuple[Images, npt.NDArray[Any]]]:
        """The batches of one epoch, several at once: uint8 (m, B, H, W, C), int64 (m, B); the last may be short."""
        order = self.order(epoch)
        whole, step = len(order) // self.batch_size * self.batch_size, self.together * self.batch_size
        for start in range(0, whole, step):
            part = order[start : min(start + step, whole)].reshape(-1, self.batch_size)
            yield self.pictures.take(self.rows[part]), self.labels[part]
        if whole < len(order):
            part = order[whole:].reshape(1, -1)
            yield self.pictures.take(self.rows[part]), self.labels[part]


def spread(indices: Sequence[int], n: int) -> list[int]:
    """At most `n` of `indices`, evenly spread.

    >>> spread(range(10), 3)
    [0, 3, 6]
    """
    return [indices[i * len(indices) // n] for i in range(n)] if len(indices) > n else list(indices)
