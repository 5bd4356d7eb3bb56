"""Which images are worth inspecting: the most confident mistakes and the most doubtful right answers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.data.walk import Sample

N_BARS: Final = 3
"""Classes with a bar under an image, and the true one beside them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One image of the gallery.

    Attributes:
        path: where the file is, as the operating system names it.
        name: as result files name it.
        truth, predicted: indices of the classes.
        confidence: probability of the predicted class.
        bars: (class, probability) of the most probable classes, and of the true one.
    """

    path: str
    name: str
    truth: int
    predicted: int
    confidence: float
    bars: tuple[tuple[int, float], ...]


class Gallery:
    """Keeps the images worth inspecting from a stream, a bounded number for each true class.

    Args:
        n_classes: of the model.
        size: how many images `mistakes` and `doubtful` give at most, each.
    """

    def __init__(self, n_classes: int, size: int = 90) -> None:
        self.size = size
        self._per_class = max(4, min(size, 6 * size // n_classes))
        self._mistakes: dict[int, list[tuple[float, int, Shown]]] = {}
        self._doubtful: dict[int, list[tuple[float, int, Shown]]] = {}
        self._seen = 0

    def add(self, sample: Sample, truth: int, probabilities: npt.NDArray[np.floating[Any]]) -> None:
        """Take in one answer.

        Args:
            sample: the image.
            truth: its class.
            probabilities: float (K,).
        """
        predicted = int(probabilities.argmax())
        confidence = float(probabilities[predicted])
        self._seen += 1
        wrong = predicted != truth
        heap = (self._mistakes if wrong else self._doubtful).setdefault(truth, [])
        urgency = confidence if wrong else -confidence
        if len(heap) >= self._per_class and urgency <= heap[0][0]:
            return
        shown = Shown(
            path=sample.path,
            name=sample.name,
            truth=truth,
            predicted=predicted,
            confidence=confidence,
            bars=_bars(probabilities, truth),
        )
        # Of equal ones the earlier image stays, so that the same input gives the same gallery.
        heapq.heappush(heap, (urgency, -self._seen, shown))
        if len(heap) > self._per_class:
            heapq.heappop(heap)

    def mistakes(self) -> list[Shown]:
        """The most confident mistakes, every kind of confusion among them, the most confident first."""
        return self._choose(self._mistakes)

    def doubtful(self) -> list[Shown]:
        """The right answers of the least confidence, every class among them, the least confident first."""
        return self._choose(self._doubtful)

    def _choose(self, heaps: dict[int, list[tuple[float, int, Shown]]]) -> list[Shown]:
        """`size` images: the first of each pair of classes, then the second, ...; the most urgent first."""
        ordered = sorted((item for heap in heaps.values() for item in heap), key=lambda item: item[:2], reverse=True)
        nth: Counter[tuple[int, int]] = Counter()
        ranked = []
        for place, (_, _, shown) in enumerate(ordered):
            pair = (shown.truth, shown.predicted)
            ranked.append((nth[pair], place))
            nth[pair] += 1
        kept = sorted(place for _, place in sorted(ranked)[: self.size])
        return [ordered[place][2] for place in kept]


def _bars(probabilities: npt.NDArray[np.floating[Any]], truth: int) -> tuple[tuple[int, float], ...]:
    best = np.argsort(-probabilities, kind="stable")[:N_BARS].tolist()
    classes: Iterable[int] = best if truth in best else [*best, truth]
    return tuple((k, float(probabilities[k])) for k in classes)
