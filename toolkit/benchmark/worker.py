"""A process that measures one way to run a model: `python -m toolkit.benchmark.worker`, a job in, results out, as JSON.

A process of its own for each way, so that its peak memory is its own and no runtime disturbs the next.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from toolkit.core.errors import ToolkitError
from toolkit.data.read import ReadError, read
from toolkit.data.walk import sample
from toolkit.images.decode import DecodeError, Image, decode
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import make_labeller, open_model
from toolkit.model_files.contract import Contract
from toolkit.sessions.backend import Device, Precision, Runtime
from toolkit.sessions.session import Probabilities, Session

READY = 128
"""Decoded images that the network alone is given again and again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to measure.

    Attributes:
        file: the model file.
        device, runtime, precision: as `infer` takes them.
        images: paths of readable images.
        workers: of `infer`, and threads that run the network alone.
        seconds: about how long to measure.
        check: a `.npy` of images uint8 (N, H, W, C) to answer; "" takes the first of `images`.
    """

    file: str
    device: Device
    runtime: Runtime
    precision: Precision
    images: tuple[str, ...]
    workers: int
    seconds: float
    check: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was found.

    Attributes:
        network_per_s: images that the network answers in a second, ready batches, all workers.
        end_to_end_per_s: files in a second, from reading to the row.
        peak_memory_bytes: the most that the process held while it labelled; None where the system does not say.
        probabilities: of the images to check, N rows of K.
    """

    network_per_s: float
    end_to_end_per_s: float
    peak_memory_bytes: int | None
    probabilities: list[list[float]]


def measure(job: Job) -> Measured:
    """Measure one way.

    Raises:
        ToolkitError: it cannot be run here.
    """
    options = InferOptions(
        device=job.device, runtime=job.runtime, precision=job.precision, workers=job.workers, processes=True
    )
    end_to_end = end_to_end_rate(job, options)
    memory = peak_memory()
    session = open_model(Path(job.file), options)
    ready = decoded(job.images[:READY], session.contract)
    network = network_rate(session, ready, make_labeller(session, options).run_size, job)
    check = np.load(job.check) if job.check else ready
    return Measured(
        network_per_s=network,
        end_to_end_per_s=end_to_end,
        peak_memory_bytes=memory,
        probabilities=answers(session, check).tolist(),
    )


def end_to_end_rate(job: Job, options: InferOptions) -> float:
    """Files in a second of `infer` itself: what a longer run takes beyond a shorter one, its start left out."""

    def seconds(n: int) -> float:
        names = (job.images[i % len(job.images)] for i in range(n))
        listed = io.BytesIO("\0".join(names).encode(errors="surrogateescape"))
        with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
            begun = time.perf_counter()
            inputs = Inputs(paths=("-",), null=True, stdin=listed)
            infer(inputs, Path(folder) / "labels.csv", Path(job.file), options)
            return time.perf_counter() - begun

    n, taken = 64 * job.workers, 0.0
    seconds(n)
    while (taken := seconds(n)) < 0.15 * job.seconds:
        n *= 2
    more = n + max(n, int(n / taken * 0.5 * job.seconds))
    return (more - n) / max(seconds(more) - taken, 1e-9)


def network_rate(session: Session, ready: Image, size: int, job: Job) -> float:
    """Images in a second of the network alone, on batches that are ready."""
    copies = -(-size // len(ready))
    images = np.concatenate([ready] * copies) if copies > 1 else ready
    batches = [images[i : i + size] for i in range(0, len(images) - size + 1, size)]
    until = [0.0]

    def work(number: int) -> int:
        done = 0
        while time.perf_counter() < until[0]:
            done += len(session.run(batches[(number + done // size) % len(batches)]))
        return done

    with ThreadPoolExecutor(job.workers) as pool:
        list(pool.map(session.run, batches[:1] * job.workers))
        begun = time.perf_counter()
        until[0] = begun + 0.25 * job.seconds
        done = sum(pool.map(work, range(job.workers)))
        return done / (time.perf_counter() - begun)


def decoded(paths: tuple[str, ...], contract: Contract) -> Image:
    """Those of `paths` that can be read, as the network is fed: uint8 (N, H, W, C)."""
    images = []
    with one_opencv_thread():
        for path in paths:
            try:
                images.append(decode(read(sample(path, path))[1], contract.preprocess))
            except (DecodeError, ReadError):
                continue
    return np.stack(images) if images else np.empty((0, *contract.preprocess.shape), np.uint8)


def answers(session: Session, images: Image, size: int = 16) -> Probabilities:
    """Probabilities of all images, in batches."""
    return np.concatenate([session.run(images[i : i + size]) for i in range(0, len(images), size)])


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """A job from stdin, what was measured to stdout."""
    fields = json.load(sys.stdin)
    try:
        found = asdict(measure(Job(**{**fields, "images": tuple(fields["images"])})))
    except ToolkitError as error:
        found = {"error": error.message}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
