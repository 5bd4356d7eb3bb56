"""Near copies of images: recompressed, resized, slightly cropped or made brighter.

Each image is kept as a sketch, 32x32 grey levels with their histogram equalised (so that brightness and contrast do
not count). Candidates are found by a perceptual hash, the low frequencies of the sketch's cosine transform, weighted
so that what all images of the collection share (a black border, a centred object) does not count either. Each
candidate is then laid over its partner, shifted and scaled by up to a seventh until it fits best; what decides is the
correlation of the two. Flipped and rotated images are not near copies here: augmentation makes them on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.images.decode import DEFAULT_LIMITS, Image, decode
from toolkit.images.limits import Limits
from toolkit.images.spec import Colour, Preprocess

SIDE: Final = 32
THRESHOLD: Final = 0.95
"""Correlation of two sketches, -1..1, from which on they are near copies. On photos of cats, dogs and flowers, near
copies lie above 0.96 and different images below 0.93."""

_FREQUENCIES: Final = 10
_CANDIDATE: Final = 0.4
_NEIGHBOURS: Final = 8
_PRIOR_IMAGES: Final = 300
_MAX_STRETCH: Final = 0.14
_MAX_SHEAR: Final = 0.03
_HOPELESS: Final = 0.3
_SURE: Final = 0.99
"""Pairs that fit worse than the one, or better than the other, as they are need no fitting."""
_STEPS: Final = (2, 6)
_GAIN: Final = 0.08
"""Near copies are this near to the threshold, or nearer, after the first steps; on photos and on small images none
was further than 0.04."""
_BLOCK: Final = 2048
_PAIRS: Final = 256

_EVERYWHERE: Final = np.full((SIDE, SIDE), 255, np.uint8)

Sketch = Image
"""uint8 (32, 32), equalised grey levels."""

Sketches = npt.NDArray[np.uint8]
"""uint8 (N, 32, 32)."""

Hashes = npt.NDArray[np.float32]

Indices = npt.NDArray[np.int64]


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


def sketch(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Sketch:
    """The sketch of one image file.

    Raises:
        DecodeError: as `preprocess.decode`.
    """
    return sketch_of(decode(data, Preprocess(height=64, width=64, colour=Colour.GREY), limits=limits)[..., 0])


def sketch_of(grey: Image) -> Sketch:
    """The sketch of decoded grey levels, uint8 (H, W)."""
    return np.asarray(cv2.equalizeHist(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)), np.uint8)


def near_pairs(sketches: Sequence[Sketch], threshold: float = THRESHOLD, workers: int = 2) -> list[Pair]:
    """The pairs of near copies among many sketches, each image with its likeliest partners.

    Time grows with the square of their number, at some seconds for 100,000; memory with their number.

    Args:
        sketches: uint8 (32, 32) each.
        threshold: the correlation from which on two images are near copies.
        workers: threads.

    Returns:
        Pairs sorted by (first, second).

    >>> ramp = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    >>> [(pair.first, pair.second, round(pair.correlation, 6)) for pair in near_pairs([ramp, ramp.T, ramp])]
    [(0, 2, 1.0)]
    """
    if len(sketches) < 2:
        return []
    stack = np.stack(sketches)
    candidates = _candidates(_hashes(stack))
    with ThreadPoolExecutor(workers, "similar") as pool:
        chunks = [candidates[at : at + _PAIRS] for at in range(0, len(candidates), _PAIRS)]
        return [pair for pairs in pool.map(lambda chunk: _fitting(stack, chunk, threshold), chunks) for pair in pairs]


def _hashes(sketches: Sketches) -> Hashes:
    """Perceptual hashes: float32 (N, 99), each of length 1, compared by their scalar product.

    The weights are those of natural photos (a mean of 0, deviations that fall with the frequency), as if there were
    `_PRIOR_IMAGES` of them, and of the collection itself: a large one is told apart by what varies in it.
    """
    k = _FREQUENCIES
    raw = np.empty((len(sketches), k * k - 1), np.float32)
    for i, one in enumerate(sketches):
        low = cv2.dct(one.astype(np.float32))[:k, :k].ravel()[1:]
        raw[i] = low / (np.linalg.norm(low) + 1e-3)
    n, prior = len(raw), _PRIOR_IMAGES
    frequency = np.hypot(*np.indices((k, k))).ravel()[1:]
    mean = raw.sum(axis=0, dtype=np.float64) / (n + prior)
    centred = raw - mean.astype(np.float32)
    covariance = prior * np.diag((0.45 / frequency) ** 2)
    for start in range(0, n, _BLOCK):
        block = centred[start : start + _BLOCK].astype(np.float64)
        covariance += block.T @ block
    covariance /= n + prior
    variances, axes = np.linalg.eigh(covariance)
    weighted = centred @ (axes / np.sqrt(variances + variances.max() * 1e-3)).astype(np.float32)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return np.asarray(weighted / np.maximum(length, 1e-6), np.float32)


def _candidates(hashes: Hashes) -> Indices:
    """Pairs (i < j), (P, 2) and sorted, of which one is among the nearest neighbours of the other, by hash."""
    n, keys = len(hashes), []
    for start in range(0, n, _BLOCK):
        rows, columns, near = _similar(hashes, start)
        order = np.lexsort((columns, -near, rows))
        rows, columns = rows[order], columns[order]
        first = np.arange(len(rows)) - np.searchsorted(rows, rows) < _NEIGHBOURS
        rows, columns = rows[first], columns[first]
        keys.append(np.minimum(rows, columns) * n + np.maximum(rows, columns))
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), n), axis=1)


def _similar(hashes: Hashes, start: int) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
    """Row, column and similarity wherever rows `start`.. of one block resemble any other image."""
    parts = []
    block = hashes[start : start + _BLOCK]
    for low in range(0, len(hashes), 4 * _BLOCK):
        products = block @ hashes[low : low + 4 * _BLOCK].T
        place = np.flatnonzero(products > _CANDIDATE)
        row, column = np.divmod(place, products.shape[1])
        keep = row + start != column + low
        parts.append((row[keep] + start, column[keep] + low, products.ravel()[place[keep]]))
    rows, columns, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, columns, near


def _fitting(sketches: Sketches, candidates: Indices, threshold: float) -> list[Pair]:
    """Those of the candidates (P, 2) that fit as well as `threshold` asks for."""
    overlays = _overlays(sketches[candidates[:, 0]], sketches[candidates[:, 1]]).tolist()
    pairs = (
        Pair(i, j, _best(sketches[i], sketches[j], overlay, threshold))
        for (i, j), overlay in zip(candidates.tolist(), overlays, strict=True)
    )
    return [pair for pair in pairs if pair.correlation >= threshold]


def _overlays(first: Sketches, second: Sketches) -> npt.NDArray[np.float32]:
    """Correlation (P,) of the sketches of pairs as they are."""
    a, b = (part.reshape(len(part), -1).astype(np.float32) for part in (first, second))
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.einsum("pi,pi->p", a, b) / np.maximum(lengths, 1e-6), np.float32)


def _best(first: Sketch, second: Sketch, overlay: float, threshold: float) -> float:
    """The correlation of two sketches as they are (`overlay`), or fitted in one direction or the other."""
    best = overlay
    for one, other in ((first, second), (second, first)):
        if best < _HOPELESS or best > _SURE:
            break
        found, is_small = _fitted(one, other, threshold)
        best = max(best, found) if is_small else best
        if found < threshold - _GAIN:
            break
    return best


def _fitted(first: Sketch, second: Sketch, threshold: float) -> tuple[float, bool]:
    """Correlation where `second` is shifted and stretched onto `first`, and whether that is a small change."""
    warp: npt.NDArray[np.float32] = np.eye(2, 3, dtype=np.float32)
    found = -1.0
    for steps in _STEPS:
        criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, steps, 1e-3)
        try:
            found, fitted = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, criteria, _EVERYWHERE, 3)
        except cv2.error:
            return -1.0, False
        warp = np.asarray(fitted, np.float32)
        if not threshold - _GAIN < found <= _SURE:
            break
    stretch = max(abs(warp[0, 0] - 1), abs(warp[1, 1] - 1), abs(warp[0, 2]) / SIDE, abs(warp[1, 2]) / SIDE)
    shear = max(abs(warp[0, 1]), abs(warp[1, 0]))
    return float(found), bool(stretch <= _MAX_STRETCH and shear <= _MAX_SHEAR)
