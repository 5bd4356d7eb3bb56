"""How fast `toolkit infer` is, against what its parts allow: `python tools/bench_infer.py PICTURES MODEL.onnx…`

For each model, medians of five in one run:

    D      pictures a second that are only read and decoded, at the best number of threads
    C      pictures a second of the session on ready batches, at the best number of threads and batch
    bound  1 / (1/D + 1/C)
    E      pictures a second of the whole pipeline, from the first sample to the last row; the aim is E >= 0.95 bound

and the same again per second of processor, which other work on the machine disturbs less.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from toolkit.core.machine import usable_cpus
from toolkit.data.read import read
from toolkit.data.walk import Sample
from toolkit.images.decode import DecodeError, Image, decode
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.images.spec import Preprocess
from toolkit.inference.inputs import Inputs, PassedOver
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, layout, make_labeller, row_workers
from toolkit.sessions.open_session import open_session
from toolkit.sessions.session import Session

ROUNDS = 5
MOST, LEAST = 10_000, 4_000
"""Pictures of a round: a folder of fewer is gone through again, so that the last batches do not count."""


def rates(work: Callable[[], int]) -> tuple[float, float]:
    """Pictures of one call, a second on the clock and a second of processor."""
    begun, cpu = time.perf_counter(), processor_seconds()
    n = work()
    return n / (time.perf_counter() - begun), n / (processor_seconds() - cpu)


def processor_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


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
    options = InferOptions(processes=True)
    table = layout(session, options)
    labeller = make_labeller(session, options)
    n = 0
    with row_workers(table, labeller, options, n_batches=len(samples) // labeller.batch_size) as label:
        for rows in label(batches(samples, labeller.batch_size)):
            table.encode(rows)
            n += len(rows)
    return n


def bench(model: Path, samples: list[Sample]) -> None:
    session = open_session(model, device="cpu", threads=1)
    spec = session.contract.preprocess
    images = np.stack(decoded(samples[:512], spec))
    works: dict[str, Callable[[], int]] = {}
    for n in sorted({1, usable_cpus()}):
        works[f"D {n}"] = partial(decode_all, samples, spec, n)
        for batch in (2, 4, 8, 16, 32, 64):
            works[f"C {n} {batch}"] = partial(run_all, session, images, batch, n)
    works["E"] = partial(whole, session, samples)
    sides: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            sides[name].append(rates(work))
    print(f"{model.stem:<12} {bound(sides, 0)}\n{'  processor':<12} {bound(sides, 1)}", flush=True)


def bound(sides: dict[str, list[tuple[float, float]]], clock: int) -> str:
    """The medians of one of the two clocks, every part at its own best."""
    medians = {name: statistics.median(pair[clock] for pair in pairs) for name, pairs in sides.items()}
    d, d_name = max((value, name) for name, value in medians.items() if name[0] == "D")
    c, c_name = max((value, name) for name, value in medians.items() if name[0] == "C")
    most, end = 1 / (1 / d + 1 / c), medians["E"]
    return (
        f"D {d:8,.0f}/s ({d_name[2:]} threads)  C {c:8,.0f}/s ({c_name[2:]} threads, batch)  bound {most:8,.0f}/s  "
        f"E {end:8,.0f}/s  E/bound {end / most:.3f}"
    )


def main() -> None:
    pictures, *models = sys.argv[1:]
    every = list(Inputs(paths=(pictures,)).samples(PassedOver()))
    samples = every[:: max(1, len(every) // MOST)][:MOST]
    samples *= -(-LEAST // len(samples))
    with one_opencv_thread():
        for model in models:
            bench(Path(model), samples)


if __name__ == "__main__":
    main()
