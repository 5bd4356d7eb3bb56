"""Real images for proof and calibration, through the one decoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import InputError
from toolkit.data.read import read_file
from toolkit.images.decode import Image, decode
from toolkit.model_files.bundle import LabeledPath
from toolkit.model_files.contract import Contract

MAX_BYTES: Final = 512 << 20
"""Decoded images that are held in memory at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleImages:
    """Decoded images.

    Attributes:
        images_u8: (N, H, W, C), values 0..255.
        truth: index of each image's class, -1 where it has none; int64 (N,).
        paths: where each came from.
    """

    images_u8: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.int64]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images_u8)


def load_sample_images(samples: Sequence[LabeledPath], contract: Contract, limit: int) -> SampleImages:
    """Decode up to `limit` images, the classes in turn and spread over each; what cannot be read is passed over."""
    shape = contract.preprocess.shape
    limit = max(1, min(limit, MAX_BYTES // int(np.prod(shape))))
    chosen = _spread(samples, limit)
    index = {label: at for at, label in enumerate(contract.labels)}

    def load(sample: LabeledPath) -> Image | None:
        try:
            return decode(read_file(str(sample.path)), contract.preprocess)
        except InputError:
            return None

    with ThreadPoolExecutor(max_workers=4) as pool:
        decoded = list(pool.map(load, chosen))
    kept = [(sample, image) for sample, image in zip(chosen, decoded, strict=True) if image is not None]
    images = np.stack([image for _, image in kept]) if kept else np.empty((0, *shape), np.uint8)
    return SampleImages(
        images_u8=images,
        truth=np.array([index.get(sample.label, -1) for sample, _ in kept], np.int64),
        paths=tuple(str(sample.path) for sample, _ in kept),
    )


def _spread(samples: Sequence[LabeledPath], limit: int) -> list[LabeledPath]:
    """At most `limit` samples: one of each class in turn, each class's at even distances."""
    classes: dict[str, list[LabeledPath]] = defaultdict(list)
    for sample in samples:
        classes[sample.label].append(sample)
    if len(samples) > limit:
        share = -(-limit // len(classes))
        classes = {label: _evenly(members, share) for label, members in classes.items()}
    turns = chain.from_iterable(zip_longest(*classes.values()))
    return [sample for sample in turns if sample is not None][:limit]


def _evenly(members: list[LabeledPath], n: int) -> list[LabeledPath]:
    if len(members) <= n:
        return members
    return [members[at * len(members) // n] for at in range(n)]
