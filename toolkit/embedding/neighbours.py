"""The images most like one image: the largest cosine between features."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.core.errors import GateError, InputError
from toolkit.core.text import printable
from toolkit.data.walk import sample
from toolkit.embedding.embed import features_of
from toolkit.embedding.feature_files import FeatureRow, Features
from toolkit.embedding.feature_session import FeatureSession


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image and how like it is.

    Attributes:
        path: as its row names it.
        similarity: cosine of the angle between its features and those asked for, -1..1; 1 for the same image.
    """

    path: str
    similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        neighbours: the most similar images, best first.
        n_files: files looked through; n_errors: those of them without features, because they could not be read.
    """

    neighbours: list[Neighbour]
    n_files: int
    n_errors: int

    def check(self, source: str) -> None:
        """Raises:
        GateError: no file could be read.
        """
        if self.n_files and self.n_errors == self.n_files:
            none = (
                "the only file could not be read"
                if self.n_files == 1
                else f"none of {self.n_files:,} files is readable"
            )
            raise GateError(
                f"{source}: {none}: there is nothing to compare with", hint="toolkit embed … --out f.csv says why"
            )


def nearest(
    features: Features, rows: Iterable[FeatureRow], top: int, *, source: str, model: str, besides: Path | None = None
) -> Found:
    """The `top` rows whose features point most nearly the same way, best first; of equal ones the earlier row.

    Args:
        features: float32 (D,), not all zero.
        rows: the rows to look through; memory does not grow with their number. Errors are passed over.
        top: how many, 1 or more.
        source: where the rows come from, for messages.
        model: fingerprint of the model that `features` come from.
        besides: the image that `features` are of, which is not like itself.

    Raises:
        InputError: the rows are of another model.
    """
    wanted = features / max(float(np.linalg.norm(features)), 1e-12)
    best: list[tuple[float, int, str]] = []
    n_files = n_errors = 0
    for number, row in enumerate(rows):
        n_files += 1
        if row.model != model:
            raise InputError(
                f"{source}: its features are of another model ({row.model}) than --model ({model})",
                hint="name the model that it was made with, or make it again",
            )
        if row.features is None:
            n_errors += 1
            continue
        if row.features.shape != features.shape:
            raise InputError(
                f"{source}: expected {len(features):,} features of {row.path}, found {row.features.size:,}",
                hint="make it again",
            )
        if besides is not None and _is_same(row.path, besides):
            continue
        length = max(float(np.linalg.norm(row.features)), 1e-12)
        entry = float(row.features @ wanted) / length, -number, row.path
        if len(best) < top:
            heapq.heappush(best, entry)
        else:
            heapq.heappushpop(best, entry)
    neighbours = [Neighbour(path, similarity) for similarity, _, path in sorted(best, reverse=True)]
    return Found(neighbours=neighbours, n_files=n_files, n_errors=n_errors)


def _is_same(path: str, image: Path) -> bool:
    return path.endswith(image.name) and os.path.realpath(path) == os.path.realpath(image)


def features_of_image(path: Path, session: FeatureSession) -> Features:
    """The features of one image.

    Raises:
        InputError: it cannot be read or decoded.
    """
    (row,) = features_of([sample(str(path), str(path))], session)
    if row.features is None:
        raise InputError(f"{printable(str(path))}: {row.error}", hint="--like wants an image that can be read")
    return row.features
