"""What this machine can do, and what keeps it from the rest."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from toolkit import __version__
from toolkit.core.errors import MachineError
from toolkit.core.machine import memory_limit, usable_cpus
from toolkit.data.cache import cache_entries, default_cache_dir
from toolkit.sessions import cuda


class Verdict(StrEnum):
    """ok: usable. off: not usable, and only needed by some. broken: installed but not working."""

    OK = "ok"
    OFF = "off"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        verdict: how it is.
        found: what was found.
        repair: what to do about it; "" where there is nothing to do.
    """

    subject: str
    verdict: Verdict
    found: str
    repair: str = ""


EXTRAS: Final = (
    ("train and export", ("tensorflow", "tf2onnx"), "train"),
    ("TFLite files", ("ai_edge_litert",), "litert"),
    ("OpenVINO", ("openvino",), "openvino"),
    ("Parquet results", ("pyarrow",), "parquet"),
    ("more image formats", ("PIL", "pillow_jxl"), "formats"),
    ("HEIC images", ("pi_heif",), "heic"),
)
"""What an extra is for, the modules it needs, and its name."""

PACKAGES: Final = {"PIL": "pillow", "pillow_jxl": "pillow-jxl-plugin"}
"""Packages that are not called as their module."""


def diagnose() -> list[Diagnosis]:
    """Everything that `toolkit doctor` reports, in its order. Loads neither TensorFlow nor a model."""
    return [_toolkit(), _processors(), _memory(), _disk(), _cache(), *_base(), _cuda(), *_extras()]


def _toolkit() -> Diagnosis:
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    verdict = Verdict.OK if right else Verdict.BROKEN
    return Diagnosis("toolkit", verdict, f"{__version__}, {python}", "" if right else "use Python 3.11, 3.12 or 3.13")


def _processors() -> Diagnosis:
    return Diagnosis("processors", Verdict.OK, f"{usable_cpus()} usable by this process")


def _memory() -> Diagnosis:
    limit = memory_limit()
    return Diagnosis("memory", Verdict.OK, f"limited to {limit / 2**30:.1f} GiB" if limit else "no limit set")


def _disk() -> Diagnosis:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Diagnosis("disk", Verdict.OK if free >= 1 else Verdict.BROKEN, f"{free:.1f} GiB free here")


def _cache() -> Diagnosis:
    try:
        place = default_cache_dir()
        size = sum(entry.n_bytes for entry in cache_entries(place)) / 1e6
        found = f"{size:,.0f} MB in {place}; toolkit cache lists it, and it may be deleted at any time"
    except (OSError, MachineError) as error:
        return Diagnosis("cache", Verdict.OFF, str(error), "name a folder in the environment variable TOOLKIT_CACHE")
    return Diagnosis("cache", Verdict.OK, found)


def _base() -> Iterator[Diagnosis]:
    for package, module in (("numpy", "numpy"), ("opencv-python-headless", "cv2"), ("onnx", "onnx")):
        version = _version(package)
        if version is None and find_spec(module) is not None:
            version = "installed under another name"
        verdict = Verdict.OK if version else Verdict.BROKEN
        yield Diagnosis(package, verdict, version or "not installed", "" if version else f"pip install {package}")
    packages = sorted(cuda.installed())
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    if len(packages) == 1:
        yield Diagnosis("onnxruntime", Verdict.OK, versions)
    elif packages:
        repair = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        yield Diagnosis("onnxruntime", Verdict.BROKEN, f"{versions}: both, which disables CUDA", repair)
    else:
        yield Diagnosis("onnxruntime", Verdict.BROKEN, "not installed", "pip install onnxruntime")


def _cuda() -> Diagnosis:
    trouble = cuda.problem()
    if trouble is None:
        return Diagnosis("CUDA", Verdict.OK, "usable")
    return Diagnosis("CUDA", Verdict.OFF, trouble[0], trouble[1])


def _extras() -> Iterator[Diagnosis]:
    for purpose, modules, extra in EXTRAS:
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Diagnosis(
                purpose, Verdict.OFF, f"not installed: {', '.join(map(_package, missing))}", _install(extra)
            )
        else:
            versions = ", ".join(f"{name} {_version(name) or ''}".rstrip() for name in map(_package, modules))
            yield Diagnosis(purpose, Verdict.OK, versions)


def _package(module: str) -> str:
    return PACKAGES.get(module, module.replace("_", "-"))


def _install(extra: str) -> str:
    return f'pip install "toolkit-images[{extra}]"'


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
