"""How fast `toolkit infer` is, against what its parts allow: `python tools/bench_infer.py IMAGES MODEL…`

A MODEL may name its runtime and precision, such as model.int8.onnx@openvino or model.onnx@openvino:bfloat16. For each,
the models in turn, medians of the rounds:

    D      images a second that are only read and decoded, at the best number of threads
    C      images a second of the session on ready batches, at the best number of threads and batch
    bound  1 / (1/D + 1/C)
    E      images a second of the whole pipeline, from the first sample to the last row; the aim is E >= 0.95 bound

and the same again per second of processor, which other work on the machine disturbs less. The last number of a line is
E against that of the first model.
"""

from __future__ import annotations

import argparse
import resource
import statistics
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
from toolkit.inference.predict import batches, layout, make_labeller, open_model, row_workers
from toolkit.sessions.backend import Precision, Runtime
from toolkit.sessions.session import Session


def rates(work: Callable[[], int]) -> tuple[float, float]:
    """Images of one call, a second on the clock and a second of processor."""
    begun, cpu = time.perf_counter(), processor_seconds()
    n = work()
    return n / (time.perf_counter() - begun), n / (processor_seconds() - cpu)


def processor_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def decoded(samples: list[Sample], spec: Preprocess) -> list[Image]:
    """Every readable image of `samples`, as the network is fed."""
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


def whole(session: Session, options: InferOptions, samples: list[Sample]) -> int:
    """E: what `infer` does, without the file."""
    table = layout(session, options)
    labeller = make_labeller(session, options)
    n = 0
    with row_workers(table, labeller, options, n_batches=len(samples) // labeller.batch_size) as label:
        for rows in label(batches(samples, labeller.batch_size)):
            table.encode(rows)
            n += len(rows)
    return n


def works_of(session: Session, options: InferOptions, samples: list[Sample]) -> dict[str, Callable[[], int]]:
    """What is measured of one model."""
    spec = session.contract.preprocess
    images = np.stack(decoded(samples[:256], spec))
    works: dict[str, Callable[[], int]] = {}
    for n in sorted({1, usable_cpus()}):
        works[f"D {n}"] = partial(decode_all, samples, spec, n)
        for batch in (4, 8, 16, 32, 64):
            works[f"C {n} {batch}"] = partial(run_all, session, images, batch, n)
    works["E"] = partial(whole, session, options, samples)
    return works


def bound(sides: dict[str, list[tuple[float, float]]], clock: int) -> tuple[str, float]:
    """The medians of one of the two clocks, every part at its own best; and E among them."""
    medians = {name: statistics.median(pair[clock] for pair in pairs) for name, pairs in sides.items()}
    d, d_name = max((value, name) for name, value in medians.items() if name[0] == "D")
    c, c_name = max((value, name) for name, value in medians.items() if name[0] == "C")
    most, end = 1 / (1 / d + 1 / c), medians["E"]
    text = (
        f"D {d:8,.0f}/s ({d_name[2:]} threads)  C {c:8,.0f}/s ({c_name[2:]} threads, batch)  bound {most:8,.0f}/s  "
        f"E {end:8,.0f}/s  E/bound {end / most:.3f}"
    )
    return text, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("models", nargs="+", metavar="MODEL[@RUNTIME[:PRECISION]]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--files", type=int, default=4000, help="files of a round; a small folder is gone through again"
    )
    given = parser.parse_args()
    every = list(Inputs(paths=(given.images,)).samples(PassedOver()))
    samples = every[:: max(1, len(every) // given.files)][: given.files]
    samples *= -(-given.files // len(samples))
    works: dict[str, dict[str, Callable[[], int]]] = {}
    with one_opencv_thread():
        for name in given.models:
            file, _, runner = name.partition("@")
            runtime, _, precision = runner.partition(":")
            options = InferOptions(
                device="cpu",
                runtime=Runtime(runtime or "auto"),
                precision=Precision(precision or "exact"),
                processes=runtime != "openvino",
            )
            works[name] = works_of(open_model(Path(file), options), options, samples)
        sides: dict[str, dict[str, list[tuple[float, float]]]] = {
            name: {work: [] for work in own} for name, own in works.items()
        }
        for _ in range(given.rounds):
            for name, own in works.items():
                for work, run in own.items():
                    sides[name][work].append(rates(run))
    for clock, title in enumerate(("clock", "processor")):
        print(f"per second of {title}")
        first = 0.0
        for name, own in sides.items():
            text, end = bound(own, clock)
            first = first or end
            print(f"  {Path(name).name:<32} {text}  {end / first:.2f} x", flush=True)


if __name__ == "__main__":
    main()
