"""How to label: what `infer` and everything built on it can be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from toolkit.core.coerce import coerce
from toolkit.core.errors import UsageError
from toolkit.core.machine import usable_cpus
from toolkit.core.memory import parse_bytes
from toolkit.images.header import MAX_PIXELS
from toolkit.sessions.backend import Device, Precision, Runtime, check_backend, gpu_numbers


class Engine(StrEnum):
    """What the workers of `infer` are."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """How many files may fail: a number, or a percentage of all.

    >>> MaxFailures.parse("2%").allowed(500)
    10
    """

    value: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """Read `N` or `P%`.

        Raises:
            UsageError: neither.
        """
        try:
            percent = text.endswith("%")
            value = float(text.removesuffix("%")) if percent else int(text)
        except ValueError:
            value = -1
        if not 0 <= value < float("inf") or (percent and value > 100):
            raise UsageError(f"--max-failures {text}: expected a number of files, or a percentage such as 1%")
        return cls(value, percent)

    def allowed(self, n_files: int) -> int:
        """The most failures among `n_files`."""
        return int(n_files * self.value / 100) if self.percent else int(self.value)


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """How to label.

    Attributes:
        device: "cuda" insists, "auto" takes CUDA where it works, else the CPU; "cuda:0,1" shares the work among GPUs.
        runtime, precision: what runs the model, and how exactly; another precision labels all files again.
        top_k: how many labels in a row.
        probabilities: a column for every class.
        min_confidence: below it a row is `unsure`.
        update: rows of unchanged files in the result file are kept.
        force: replace a file that toolkit did not write.
        detections: a file of MegaDetector; each of its boxes is labelled instead of the whole image.
        min_detection: boxes of which the detector was less sure are left out, 0..1.
        exif: columns for the date and the camera that the images name.
        part_size: `out` is a folder of Parquet parts of so many inputs each; None: a file.
        csv_safe: no cell of a CSV is a formula to a spreadsheet: an apostrophe stands before `= + - @`, tab and return.
        max_failures: `InferResult.check` raises above it; None: only if every file fails.
        engine: "local" workers, or actors of "ray".
        ray_address: of a cluster; None starts Ray on this machine.
        engine_messages: let Ray print what it has to say.
        batch_size, workers: None chooses from the machine and the model.
        processes: workers may be forked where that is faster; only for a program without other threads.
        max_pixels: larger images are refused from their header.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
    """

    device: Device = "auto"
    runtime: Runtime = Runtime.AUTO
    precision: Precision = Precision.EXACT
    top_k: int = 1
    probabilities: bool = False
    min_confidence: float = 0.0
    update: bool = False
    force: bool = False
    detections: Path | None = None
    min_detection: float = 0.2
    exif: bool = False
    part_size: int | None = None
    csv_safe: bool = False
    max_failures: MaxFailures | None = None
    engine: Engine = Engine.LOCAL
    ray_address: str | None = None
    engine_messages: bool = False
    batch_size: int | None = None
    workers: int | None = None
    processes: bool = False
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None

    def __post_init__(self) -> None:
        parse_bytes(self.max_memory)
        coerce(self, runtime=Runtime, precision=Precision, engine=Engine, detections=Path)
        coerce(self, top_k=int, batch_size=int, workers=int, part_size=int, max_pixels=int)
        coerce(self, min_confidence=float, min_detection=float)
        coerce(self, probabilities=bool, update=bool, force=bool, exif=bool, csv_safe=bool, processes=bool)
        check_backend(self.device, self.runtime, self.precision)
        if isinstance(self.max_failures, (str, int)):
            object.__setattr__(self, "max_failures", MaxFailures.parse(str(self.max_failures)))
        if self.engine is not Engine.RAY and self.ray_address is not None:
            raise UsageError("--ray-address is for --engine ray", hint="--engine ray")
        for name, value in (
            ("top-k", self.top_k),
            ("batch-size", self.batch_size),
            ("workers", self.workers),
            ("part-size", self.part_size),
        ):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: expected 1 or more")
        for name, share in (("min-confidence", self.min_confidence), ("min-detection", self.min_detection)):
            if not 0 <= share <= 1:
                raise UsageError(f"--{name} {share}: expected 0 to 1")

    @property
    def n_workers(self) -> int:
        """Workers of a run: as many as were asked for, else the processors allowed, and one or more for each GPU."""
        return self.workers or max(usable_cpus(), len(gpu_numbers(self.device) or ()))
