"""Decoded images -> what a backbone makes of them, computed once, into a file that later runs use again.

Imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Any, Final, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from toolkit.core.files import atomic_write, file_digest, write_json
from toolkit.core.parse import parse_json
from toolkit.core.progress import Progress
from toolkit.model_files.bundle import weights_fingerprint
from toolkit.training.data.batches import Images, Rows
from toolkit.training.data.decode_cache import Decoded, is_whole, remove_unfinished, reserve

_BATCH: Final = 64


class Extractor(Protocol):
    """What computes features."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of those of one image."""

    @property
    def key(self) -> str:
        """The same for the same features."""

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """uint8 (N, H, W, C) -> float32 (N, *shape)."""


class KerasExtractor:
    """A Keras network as it is when it is not trained: float32 (N, H, W, C), values 0..255 -> float32 (N, ...)."""

    def __init__(self, network: keras.Model) -> None:
        self.shape = tuple(network.output.shape[1:])
        self.key = "\0".join(
            [weights_fingerprint(network.get_weights()), tf.__version__, keras.__version__]
            + [type(layer).__name__ for layer in network.layers]
        )
        self._answer = answering(network)

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """What the network gives for a batch."""
        found: npt.NDArray[np.float32] = self._answer(images).numpy()
        return found


def feature_rows(extractor: Extractor, decoded: Decoded, progress: Progress) -> Rows:
    """The features of each image, beside the decoded images; or find them there.

    Returns:
        float32 rows, row i of sample i; those of broken files are zeros.
    """
    shape = extractor.shape
    row_bytes = 4 * int(np.prod(shape))
    key = hashlib.sha256(extractor.key.encode()).hexdigest()
    path = decoded.path.with_name(f"{decoded.path.stem}-{key[:16]}.f32")
    index = path.with_suffix(".json")
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or removed by another training meanwhile
        known = parse_json(index.read_text(encoding="ascii"))
        if is_whole(path, row_bytes * len(decoded.samples), known["sha256"]):
            rows = Rows(path, shape, np.float32)
            progress.line(f"features: those of an earlier run ({row_bytes * len(decoded.samples) / 1e6:,.0f} MB)")
            return rows
    remove_unfinished(path.parent)
    for old in path.parent.glob(f"{decoded.path.stem}-*.*"):  # of other weights
        old.unlink(missing_ok=True)
    usable = np.array([i for i, sample in enumerate(decoded.samples) if not sample.reason], np.int64)
    progress.start("features", len(usable), "images")
    try:
        with atomic_write(path) as temporary, temporary.open("r+b") as file:
            reserve(file.fileno(), row_bytes * len(decoded.samples))
            for start in range(0, len(usable), _BATCH):
                places = usable[start : start + _BATCH]
                for place, values in zip(places, extractor(decoded.rows.take(places)), strict=True):
                    os.pwrite(file.fileno(), values.tobytes(), int(place) * row_bytes)
                progress.advance(len(places))
            rows, sha256 = Rows(temporary, shape, np.float32), file_digest(temporary)
    finally:
        progress.finish()
    write_json(index, {"sha256": sha256})
    return rows


def answering(network: keras.Model, dtype: npt.DTypeLike = np.uint8) -> Any:
    """A compiled function: images or features of type `dtype` (N, ...) -> what `network` gives, not being trained."""
    return tf.function(
        lambda given: network(tf.cast(given, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.as_dtype(np.dtype(dtype)))],
    )
