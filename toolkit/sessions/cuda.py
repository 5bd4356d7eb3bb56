"""Whether onnxruntime can use CUDA on this machine, and why not."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PROVIDER: Final = "CUDAExecutionProvider"
CUDA_MAJOR: Final = 13
"""The CUDA that onnxruntime-gpu 1.31 is built for."""

LIBRARIES: Final = (
    ("libcudart.so.13", "nvidia-cuda-runtime"),
    ("libcublasLt.so.13", "nvidia-cublas"),
    ("libcublas.so.13", "nvidia-cublas"),
    ("libcurand.so.10", "nvidia-curand"),
    ("libcufft.so.12", "nvidia-cufft"),
    ("libnvrtc.so.13", "nvidia-cuda-nvrtc"),
    ("libcudnn.so.9", "nvidia-cudnn-cu13"),
)
"""What the CUDA provider loads, in the order of their needs, and the package of the extra `cuda` that holds it."""

EXTRA_HINT: Final = 'pip install "toolkit-images[cuda]"'

Load = Callable[[str], Any]


def problem(
    *,
    providers: list[str] | None = None,
    packages: set[str] | None = None,
    load: Load | None = None,
) -> tuple[str, str] | None:
    """What keeps onnxruntime from CUDA, looked for in the order in which it is to be repaired.

    The libraries of the extra `cuda` are loaded on the way, so that onnxruntime finds them.

    Args:
        providers, packages, load: for tests; onnxruntime's providers, installed packages, a loader of libraries.

    Returns:
        the cause and what to do about it; None where nothing is in the way.
    """
    load = load or _load
    trouble = driver_problem(load)
    if trouble is not None:
        return trouble
    packages = installed() if packages is None else packages
    if {"onnxruntime", "onnxruntime-gpu"} <= packages:
        return (
            "onnxruntime and onnxruntime-gpu are both installed, and together they disable CUDA",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        )
    if PROVIDER not in (_providers() if providers is None else providers):
        return (
            "the onnxruntime that is installed has no CUDA",
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        )
    if sys.platform == "win32":
        return None
    missing = []
    for library, package in LIBRARIES:
        try:
            load(library)
        except OSError:
            missing.append(f"{library} ({package})")
    return (f"missing: {', '.join(missing)}", EXTRA_HINT) if missing else None


def driver_problem(load: Load) -> tuple[str, str] | None:
    """What is wrong with NVIDIA's driver, or with its devices; None where they are well."""
    try:
        driver = load("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)", "install NVIDIA's driver, 580 or later, or leave --device out"
    version, count = ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0)
    if code == 100:
        return "no NVIDIA GPU is visible", "see nvidia-smi and CUDA_VISIBLE_DEVICES"
    if code != 0:
        return f"NVIDIA's driver does not start (CUDA error {code})", "see nvidia-smi, and reboot after a driver update"
    driver.cuDriverGetVersion(ctypes.byref(version))
    if version.value < CUDA_MAJOR * 1000:
        found = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return (
            f"the driver is too old: it knows CUDA {found}, needed is {CUDA_MAJOR}",
            "install NVIDIA's driver, 580 or later",
        )
    driver.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        return "no NVIDIA GPU is visible", "see nvidia-smi and CUDA_VISIBLE_DEVICES"
    return None


def installed() -> set[str]:
    """Those of the two onnxruntime packages that are installed."""
    from importlib import metadata  # 20 ms, and nothing for a machine without a GPU

    found = set()
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            metadata.distribution(name)
            found.add(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _load(library: str) -> Any:
    """A library from NVIDIA's packages beside onnxruntime, or from wherever the system finds it."""
    import onnxruntime

    packages = Path(onnxruntime.__file__).parent.parent / "nvidia"
    for folder in (f"cu{CUDA_MAJOR}", "cudnn"):
        path = packages / folder / "lib" / library
        if path.exists():
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
