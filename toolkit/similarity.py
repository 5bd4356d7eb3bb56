"""Near copies of pictures: recompressed, resized, slightly cropped or made brighter.

Each picture is kept as a sketch, 32x32 grey levels with their histogram equalised (so that brightness and contrast do
not count). Candidates are found by a perceptual hash, the low frequencies of the sketch's cosine transform, weighted
so that what all pictures of the collection share (a black border, a centred object) does not count either. Each
candidate is then laid over its partner, shifted and scaled by up to a seventh until it fits best; what decides is the
correlation of the two. Flipped and rotated pictures are no near copies here: augmentation makes them on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.preprocess import MAX_PIXELS, Colour, Image, Preprocess, decode

SIDE: Final = 32
THRESHOLD: Final = 0.95
"""Correlation of two sketches, -1..1, from which on they are near copies. On photos of cats, dogs and flowers, near
copies lie above 0.96 and different pictures below 0.93."""

_FREQUENCIES: Final = 10
_CANDIDATE: Final = 0.4
_NEIGHBOURS: Final = 8
_PRIOR_PICTURES: Final = 300
_MAX_STRETCH: Final = 0.14
_PROMISING: Final = 0.7
_SURE: Final = 0.99
"""Only between these the fit is tried the other way round, too: below is hopeless, above done."""
_MAX_SHEAR: Final = 0.03
_BLOCK: Final = 2048

_EVERYWHERE: Final = np.full((SIDE, SIDE), 255, np.uint8)

Sketch = Image
"""uint8 (32, 32), equalised grey levels."""

Hashes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two near copies.

    Attributes:
        first, second: their indices, first < second.
        correlation: how well they fit, -1..1.
    """

    first: int
    second: int
    correlation: float


def sketch(data: bytes, max_pixels: int = MAX_PIXELS) -> Sketch:
    """The sketch of one picture file.

    Raises:
        DecodeError: as `preprocess.decode`.
    """
    return sketch_of(decode(data, Preprocess(height=64, width=64, colour=Colour.GREY), max_pixels=max_pixels)[..., 0])


def sketch_of(grey: Image) -> Sketch:
    """The sketch of decoded grey levels, uint8 (H, W)."""
    return np.asarray(cv2.equalizeHist(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)), np.uint8)


def near_pairs(sketches: Sequence[Sketch], threshold: float = THRESHOLD, workers: int = 2) -> list[Pair]:
    """The pairs of near copies among many sketches, each picture with its likeliest partners.

    Time grows with the square of their number, at some seconds for 100,000; memory with their number.

    Args:
        sketches: uint8 (32, 32) each.
        threshold: the correlation from which on two pictures are near copies.
        workers: threads.

    Returns:
        Pairs sorted by (first, second).
    """
    if len(sketches) < 2:
        return []
    candidates = sorted(_candidates(_hashes(sketches)))
    with ThreadPoolExecutor(workers, "similar") as pool:
        chunks = [candidates[at : at + 256] for at in range(0, len(candidates), 256)]
        found = pool.map(lambda chunk: [_pair(sketches, i, j) for i, j in chunk], chunks)
        return [pair for pairs in found for pair in pairs if pair.correlation >= threshold]


def _hashes(sketches: Sequence[Sketch]) -> Hashes:
    """Perceptual hashes: float32 (N, 99), each of length 1, compared by their scalar product.

    The weights are those of natural photos (a mean of 0, deviations that fall with the frequency), as if there were
    `_PRIOR_PICTURES` of them, and of the collection itself: a large one is told apart by what varies in it.
    """
    k = _FREQUENCIES
    raw = np.empty((len(sketches), k * k - 1), np.float32)
    for i, one in enumerate(sketches):
        low = cv2.dct(one.astype(np.float32))[:k, :k].ravel()[1:]
        raw[i] = low / (np.linalg.norm(low) + 1e-3)
    n, prior = len(raw), _PRIOR_PICTURES
    frequency = np.hypot(*np.indices((k, k))).ravel()[1:]
    mean = raw.sum(axis=0, dtype=np.float64) / (n + prior)
    centred = raw - mean.astype(np.float32)
    covariance = (centred.T.astype(np.float64) @ centred + prior * np.diag((0.45 / frequency) ** 2)) / (n + prior)
    variances, axes = np.linalg.eigh(covariance)
    weighted = centred @ (axes / np.sqrt(variances + variances.max() * 1e-3)).astype(np.float32)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return np.asarray(weighted / np.maximum(length, 1e-6), np.float32)


def _candidates(hashes: Hashes) -> set[tuple[int, int]]:
    """Pairs (i < j) of which one is among the nearest neighbours of the other, by hash."""
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(hashes), _BLOCK):
        rows, columns, near = _similar(hashes, start)
        order = np.lexsort((columns, -near, rows))
        rows, columns = rows[order], columns[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        for i, j in zip(rows[place < _NEIGHBOURS].tolist(), columns[place < _NEIGHBOURS].tolist(), strict=True):
            pairs.add((min(i, j), max(i, j)))
    return pairs


def _similar(
    hashes: Hashes, start: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Row, column and similarity wherever rows `start`.. of one block resemble any other picture."""
    parts = []
    block = hashes[start : start + _BLOCK]
    for low in range(0, len(hashes), 4 * _BLOCK):
        products = block @ hashes[low : low + 4 * _BLOCK].T
        row, column = np.nonzero(products > _CANDIDATE)
        keep = row + start != column + low
        row, column = row[keep], column[keep]
        parts.append((row + start, column + low, products[row, column]))
    rows, columns, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, columns, near


def _pair(sketches: Sequence[Sketch], i: int, j: int) -> Pair:
    return Pair(i, j, correlation(sketches[i], sketches[j]))


def correlation(first: Sketch, second: Sketch) -> float:
    """How well two sketches fit, -1..1, laid over each other in the best way within a small shift and stretch.

    >>> import numpy as np
    >>> ramp = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    >>> round(correlation(ramp, ramp), 6)
    1.0
    """
    best = _overlay(first, second)
    if best < 0.3 or best > _SURE:
        return best
    best = max(best, _fitted(first, second))
    return max(best, _fitted(second, first)) if _PROMISING < best <= _SURE else best


def _overlay(first: Sketch, second: Sketch) -> float:
    a, b = (one.astype(np.float32).ravel() - one.mean(dtype=np.float32) for one in (first, second))
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def _fitted(first: Sketch, second: Sketch) -> float:
    """Correlation where `second` is shifted and stretched onto `first`; -1 where no small change fits."""
    warp: npt.NDArray[np.float32] = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 8, 1e-3)
    try:
        found, fitted = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, criteria, _EVERYWHERE, 3)
    except cv2.error:
        return -1.0
    warp = np.asarray(fitted, np.float32)
    stretch = max(abs(warp[0, 0] - 1), abs(warp[1, 1] - 1), abs(warp[0, 2]) / SIDE, abs(warp[1, 2]) / SIDE)
    shear = max(abs(warp[0, 1]), abs(warp[1, 0]))
    return float(found) if stretch <= _MAX_STRETCH and shear <= _MAX_SHEAR else -1.0


def together(n: int, pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Indices 0..n-1 that pairs connect, directly or over others; only groups of two or more.

    >>> list(together(4, [Pair(0, 2, 1.0), Pair(2, 3, 1.0)]))
    [[0, 2, 3]]
    """
    leader = list(range(n))
    for pair in pairs:
        a, b = pair.first, pair.second
        while leader[a] != a:
            a = leader[a]
        while leader[b] != b:
            b = leader[b]
        leader[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        a = i
        while leader[a] != a:
            a = leader[a]
        groups.setdefault(a, []).append(i)
    yield from (group for group in groups.values() if len(group) > 1)
