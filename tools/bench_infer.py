"""How fast `toolkit infer` is, against what its parts allow: `python tools/bench_infer.py PICTURES MODEL.onnx…`

For each model, medians of five in one run:

    D      pictures a second that are only read and decoded, at the best number of threads
    C      pictures a second of the session on ready batches, at the best number of threads and batch
    bound  1 / (1/D + 1/C)
    E      pictures a second of the whole pipeline, from the first sample to the last row; the aim is E >= 0.95 bound
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from toolkit.inference import InferOptions, batches, choose_batch_size, layout
from toolkit.inputs import Counts, Inputs
from toolkit.limits import usable_cpus
from toolkit.pipeline import Labeller, OrderedMap, one_opencv_thread, read
from toolkit.preprocess import DecodeError, Image, Preprocess, decode
from toolkit.scan import Sample
from toolkit.session import Session, open_session
from toolkit.tables import encode

ROUNDS = 5


def rate(work: Callable[[], int]) -> float:
    """Pictures a second of one call."""
    begun = time.perf_counter()
    n = work()
    return n / (time.perf_counter() - begun)


def decoded(samples: list[Sample], spec: Preprocess) -> list[Image]:
    """Every readable picture of `samples`, as the network is fed."""
    images = []
    for sample in samples:
        try:
            images.append(decode(read(sample)[1], spec))
        except DecodeError:
            continue
    return images


def decode_all(samples: list[Sample], spec: Preprocess, threads: int) -> int:
    """D: read and decode, nothing else."""
    parts = list(batches(samples, 16))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda part: len(decoded(part, spec)), parts))


def run_all(session: Session, images: Image, batch: int, threads: int) -> int:
    """C: the session on ready batches."""
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda part: len(session.run(part)), parts))


def whole(session: Session, samples: list[Sample]) -> int:
    """E: what `infer` does, without the file."""
    options = InferOptions()
    table = layout(session, options)
    size = choose_batch_size(session, options)
    labeller = Labeller(session, max_pixels=options.max_pixels, batch_size=size)
    n = 0
    with OrderedMap(lambda part: table.rows(labeller(part)), batches(samples, size), usable_cpus()) as results:
        for rows in results:
            encode(rows)
            n += len(rows)
    return n


def bench(model: Path, samples: list[Sample]) -> None:
    session = open_session(model, device="cpu", threads=1)
    spec = session.contract.preprocess
    images = np.stack(decoded(samples[:600], spec))
    threads = sorted({1, usable_cpus()})
    sides: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for n in threads:
            sides.setdefault(f"D {n}", []).append(rate(lambda n=n: decode_all(samples, spec, n)))  # type: ignore[misc]
            for batch in (4, 8, 16, 32, 64):
                one = rate(lambda b=batch, n=n: run_all(session, images, b, n))  # type: ignore[misc]
                sides.setdefault(f"C {n} {batch}", []).append(one)
        sides.setdefault("E", []).append(rate(lambda: whole(session, samples)))
    medians = {name: statistics.median(values) for name, values in sides.items()}
    best_d = max((value, name) for name, value in medians.items() if name[0] == "D")
    best_c = max((value, name) for name, value in medians.items() if name[0] == "C")
    bound = 1 / (1 / best_d[0] + 1 / best_c[0])
    end = medians["E"]
    print(
        f"{model.stem:<12} D {best_d[0]:8,.0f}/s ({best_d[1][2:]} threads)  C {best_c[0]:8,.0f}/s ({best_c[1][2:]} "
        f"threads, batch)  bound {bound:8,.0f}/s  E {end:8,.0f}/s (batch {choose_batch_size(session, InferOptions())})"
        f"  E/bound {end / bound:.3f}",
        flush=True,
    )


def main() -> None:
    pictures, *models = sys.argv[1:]
    samples = list(islice(Inputs(paths=(pictures,)).samples(Counts()), 4000))
    with one_opencv_thread():
        for model in models:
            bench(Path(model), samples)


if __name__ == "__main__":
    main()
