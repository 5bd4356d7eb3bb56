"""A model and some images -> how fast each installed way of running it is here, and which to use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.benchmark.worker import Job, Measured, decoded
from toolkit.core.errors import InputError, MachineError, ModelError, UsageError
from toolkit.core.machine import usable_cpus
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.passed_over import PassedOver
from toolkit.images.decode import Image
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.inputs import Inputs
from toolkit.model_files.bundle import BUNDLE_JSON, load_bundle
from toolkit.model_files.contract import Contract
from toolkit.model_files.contract_io import read_contract
from toolkit.sessions import cuda
from toolkit.sessions.backend import Device, Precision, Runtime
from toolkit.sessions.open_session import open_session
from toolkit.sessions.openvino_session import has_bfloat16
from toolkit.sessions.resolve import resolve_model
from toolkit.sessions.session import Probabilities

N_IMAGES: Final = 512
LISTED: Final = 100_000
"""Of a larger folder only the first so many names are looked at."""
MIN_AGREEMENT: Final = {"exact": 0.98, "bfloat16": 0.995}
"""The least share of the same top-1 with which a way is recommended."""
NIGHT_S: Final = 8 * 3600
OVERHEAD_S: Final = 2.5
"""About what a way costs beside its measurement: two processes and a first answer."""
MIN_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to run the model: a file of it, and what runs that."""

    file: Path
    device: Device = "cpu"
    runtime: Runtime = Runtime.AUTO
    precision: Precision = Precision.EXACT

    @property
    def name(self) -> str:
        """Such as `model.int8.onnx openvino`."""
        runner = self.device if self.device != "cpu" else "" if self.runtime == "auto" else self.runtime
        return " ".join(filter(None, (self.file.name, runner, "" if self.precision == "exact" else self.precision)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """What `toolkit infer` takes for it."""
        options = ["--model", str(self.file)]
        options += ["--device", self.device] if self.device != "auto" else []
        options += ["--runtime", self.runtime] if self.runtime != "auto" else []
        options += ["--precision", self.precision] if self.precision != "exact" else []
        return tuple(options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast one way is.

    Attributes:
        way: which.
        network_per_s: images a second of the network alone, with all workers; NaN where it could not be measured.
        end_to_end_per_s: files a second, from reading to the row.
        bound_per_s: what decoding and network allow in turn on the same processors, 1 / (1/D + 1/C).
        first_answer_s: `toolkit infer` on one image, the whole process.
        peak_memory_bytes: of a process that labels; None where the system does not say.
        agreement: share of the images to check with the same top-1 as the reference.
        largest_difference: of a probability, to the reference.
        error: why it could not be measured; "" where it could.
    """

    way: Way
    network_per_s: float = float("nan")
    end_to_end_per_s: float = float("nan")
    bound_per_s: float = float("nan")
    first_answer_s: float = float("nan")
    peak_memory_bytes: int | None = None
    agreement: float = float("nan")
    largest_difference: float = float("nan")
    error: str = ""

    @property
    def per_night(self) -> float:
        """Images in eight hours."""
        return self.end_to_end_per_s * NIGHT_S

    @property
    def trusted(self) -> bool:
        """Whether it was measured, and answers enough like the reference to be recommended."""
        return not self.error and self.agreement >= MIN_AGREEMENT[self.way.precision]


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """What was measured.

    Attributes:
        n_images: different images that were read; n_checked: those whose answers were compared.
        reference: what the answers were compared with.
        workers: of each way.
        decode_per_s: images a second that are only read and decoded, with all workers.
        speeds: one for each way, as they were measured.
    """

    n_images: int
    n_checked: int
    reference: str
    workers: int
    decode_per_s: float
    speeds: tuple[Speed, ...]

    @property
    def best(self) -> Speed | None:
        """The fastest that can be trusted; None where none can."""
        return max((s for s in self.speeds if s.trusted), key=lambda s: s.end_to_end_per_s, default=None)


def bench(
    model: Path,
    images: Path | None = None,
    *,
    seconds: float = 45.0,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> BenchResult:
    """Measure every way that is installed, each in a process of its own.

    Args:
        model: a bundle (all its ONNX and TFLite files) or one such file.
        images: a folder of images; None takes those that the bundle was trained on.
        seconds: about how long in all.
        workers: None takes the processors that this process may use.

    Raises:
        UsageError: no images are named and the bundle knows none.
        InputError: no image there can be read.
        ModelError: no model file.
    """
    if seconds <= 0 or (workers is not None and workers < 1):
        raise UsageError("--seconds and --workers: expected more than 0")
    until = time.perf_counter() + seconds
    workers = workers or usable_cpus()
    ways = ways_to_run(model)
    contract = read_contract(ways[0].file)
    progress.start("measuring", len(ways) + 1, "ways")
    try:
        with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
            progress.status("decoding")
            paths = readable_images(images or _own_images(model), contract)
            decode_per_s = _decode_rate(paths, contract, workers, seconds=min(3.0, seconds / 10))
            check, expected, reference = _reference(model, ways[0], paths, contract)
            np.save(stored := Path(folder) / "check.npy", check)
            progress.advance()
            speeds: list[Speed] = []
            for way in ways:
                rest = (until - time.perf_counter()) / (len(ways) - len(speeds))
                progress.status(way.name)
                job = Job(
                    file=str(way.file),
                    device=way.device,
                    runtime=way.runtime,
                    precision=way.precision,
                    images=paths,
                    workers=workers,
                    seconds=max(MIN_SECONDS, rest - OVERHEAD_S),
                    check=str(stored),
                )
                speeds.append(_measured(way, job, decode_per_s, expected))
                progress.advance()
    finally:
        progress.finish()
    return BenchResult(
        n_images=len(paths),
        n_checked=len(check),
        reference=reference,
        workers=workers,
        decode_per_s=decode_per_s,
        speeds=tuple(speeds),
    )


def ways_to_run(model: Path) -> list[Way]:
    """Every way to run the model with what is installed, the plainest first.

    Raises:
        ModelError: no ONNX or TFLite file.
    """
    files = [*model.glob("model*.onnx"), *model.glob("model*.tflite")] if model.is_dir() else [resolve_model(model)]
    if not files:
        raise ModelError(
            f"{printable(str(model))}: holds no ONNX or TFLite file",
            hint=f"toolkit export {printable(str(model))} --onnx",
        )
    files.sort(key=lambda file: (file.name != "model.onnx", file.suffix != ".onnx", file.name))
    on_gpu = cuda.problem() is None
    ways = []
    for file in files:
        ways.append(Way(file=file))
        if file.suffix == ".onnx":
            ways += [Way(file=file, device="cuda")] if on_gpu else []
            if find_spec("openvino") is not None:
                ways.append(Way(file=file, runtime=Runtime.OPENVINO))
                if has_bfloat16() and read_contract(file).quantization != "int8":
                    ways.append(Way(file=file, runtime=Runtime.OPENVINO, precision=Precision.BFLOAT16))
    return ways


def _own_images(model: Path) -> Path:
    """The folder that the bundle was trained on.

    Raises:
        UsageError: the images are gone, or the model is not a bundle.
    """
    root = str(load_bundle(model).data.get("root", "")) if (model / BUNDLE_JSON).is_file() else ""
    if not root or not Path(root).is_dir():
        raise UsageError(
            "which images to measure with is not known", hint=f"toolkit bench {printable(str(model))} photos/"
        )
    return Path(root)


def readable_images(folder: Path, contract: Contract) -> tuple[str, ...]:
    """Up to 512 images from all over `folder` that can be read.

    Raises:
        InputError: there is none.
    """
    inputs = Inputs(paths=(str(folder),))
    inputs.check()
    listed = [found.path for found in islice(inputs.samples(PassedOver()), LISTED)]
    chosen = listed[:: max(1, len(listed) // N_IMAGES)][:N_IMAGES]
    paths = tuple(path for path in chosen if len(decoded((path,), contract)))
    if not paths:
        raise InputError(
            f"{printable(str(folder))}: expected images, found none that can be read", hint="check the path"
        )
    return paths


def _decode_rate(paths: tuple[str, ...], contract: Contract, workers: int, *, seconds: float) -> float:
    parts = [paths[i : i + 16] for i in range(0, len(paths), 16)]
    with one_opencv_thread(), ThreadPoolExecutor(workers) as pool:
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            done += sum(pool.map(lambda part: len(decoded(part, contract)), parts))
        return done / (time.perf_counter() - begun)


def _reference(
    model: Path, plainest: Way, paths: tuple[str, ...], contract: Contract
) -> tuple[Image, Probabilities, str]:
    """Images, the answers to expect, and whose they are: of Keras for a bundle, else of the file in its own runtime."""
    if (model / BUNDLE_JSON).is_file():
        try:
            return *load_bundle(model).check(), "the Keras network"
        except ModelError:
            pass  # an old bundle, or one without its check images
    images = decoded(paths[:128], contract)
    session = open_session(plainest.file, device="cpu")
    return images, np.concatenate([session.run(images[i : i + 16]) for i in range(0, len(images), 16)]), plainest.name


def _measured(way: Way, job: Job, decode_per_s: float, expected: Probabilities) -> Speed:
    try:
        first = _first_answer(way, job.images[0])
        found = _in_a_process(job)
    except MachineError as error:
        return Speed(way=way, error=error.message)
    answers = np.array(found.probabilities, np.float32)
    best = np.take_along_axis(expected, answers.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Speed(
        way=way,
        network_per_s=found.network_per_s,
        end_to_end_per_s=found.end_to_end_per_s,
        bound_per_s=1 / (1 / decode_per_s + 1 / found.network_per_s),
        first_answer_s=first,
        peak_memory_bytes=found.peak_memory_bytes,
        agreement=float((best >= expected.max(axis=1) - 1e-6).mean()),
        largest_difference=float(np.abs(answers - expected).max()),
    )


def _first_answer(way: Way, image: str) -> float:
    """Seconds of `toolkit infer` on one image, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
        command = ["infer", image, "--out", os.path.join(folder, "labels.csv"), *way.arguments, "--quiet"]
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "toolkit", *command], check=False, capture_output=True, text=True)
        taken = time.perf_counter() - begun
    if done.returncode:
        raise MachineError((done.stderr.strip().splitlines() or ["toolkit infer failed"])[0].removeprefix("error: "))
    return taken


def _in_a_process(job: Job) -> Measured:
    command = [sys.executable, "-m", "toolkit.benchmark.worker"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MachineError(f"the measuring process failed: {last}")
    fields = json.loads(done.stdout)
    if "error" in fields:
        raise MachineError(fields["error"])
    return Measured(**fields)
