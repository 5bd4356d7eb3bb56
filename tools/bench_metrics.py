"""All figures of 1,000,000 predictions of 1,000 classes: time and peak memory, beside one bare `argmax` of the same.

    python tools/bench_metrics.py [--images N] [--classes K]

The predictions are synthetic and made chunk by chunk; making them is not counted. Curves need every score and are left
out beyond their limit, as they are in every report; the memory they took until then is counted.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.pr_roc import ScoreStore
from toolkit.metrics.probabilistic import ProbabilityTally

CHUNK = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    arguments = parser.parse_args()
    n_classes = arguments.classes
    rng = np.random.default_rng(0)
    confusion = ConfusionMatrix(f"class {k}" for k in range(n_classes))
    tally, store = ProbabilityTally(n_classes), ScoreStore(n_classes)
    figures_s = argmax_s = 0.0
    for _ in range(arguments.images // CHUNK):
        truth = rng.integers(0, n_classes, CHUNK)
        probabilities = rng.random((CHUNK, n_classes), np.float32)
        probabilities[np.arange(CHUNK), truth] += rng.random(CHUNK, np.float32) * 1.2
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        started = time.perf_counter()
        probabilities.argmax(axis=1)
        argmax_s += time.perf_counter() - started
        started = time.perf_counter()
        confusion.add(truth, probabilities.argmax(axis=1))
        tally.add(truth, probabilities)
        store.add(truth, probabilities)
        figures_s += time.perf_counter() - started
    started = time.perf_counter()
    figures = compute_report(confusion)
    n_curves = len(store.curves())
    figures_s += time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{tally.n:,} predictions x {n_classes:,} classes: {figures_s:.1f} s, peak memory {peak_mb:.0f} MB")
    print(f"{figures_s / argmax_s:.1f} times a bare argmax of the same data ({argmax_s:.1f} s)")
    print(f"accuracy {figures.accuracy:.4f}, top-5 {tally.top_k_accuracy(5):.4f}, {n_curves:,} curves")


if __name__ == "__main__":
    main()
