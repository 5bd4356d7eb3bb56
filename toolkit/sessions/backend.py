"""What runs a model, on what, and how exactly."""

from __future__ import annotations

from enum import StrEnum

from toolkit.core.errors import UsageError

Device = str
"""auto, cpu, cuda, or some of several GPUs by their numbers: cuda:0,1."""


class Runtime(StrEnum):
    """What runs an ONNX file; auto is onnxruntime, whatever else is installed."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """exact computes what the file says; bfloat16 is faster and rounds to 8 bits of mantissa."""

    EXACT = "exact"
    BFLOAT16 = "bfloat16"


def gpu_numbers(device: Device) -> tuple[int, ...] | None:
    """Which GPUs `device` names: (0,) for "cuda", () for "auto" and "cpu", None where it names nothing.

    >>> gpu_numbers("cuda:0,1")
    (0, 1)
    """
    kind, colon, numbers = device.partition(":")
    if not colon:
        return {"auto": (), "cpu": (), "cuda": (0,)}.get(kind)
    several = tuple(int(number) for number in numbers.split(",") if number.isdecimal())
    whole = len(several) == len(set(several)) == numbers.count(",") + 1
    return several if kind == "cuda" and whole else None


def check_backend(device: Device, runtime: Runtime, precision: Precision) -> None:
    """Refuse what does not exist, or does not go together.

    Raises:
        UsageError: it says which, and what does.
    """
    gpus = gpu_numbers(device)
    if gpus is None:
        raise UsageError(f"--device {device}: expected auto, cpu, cuda, or GPUs such as cuda:0,1")
    if precision is Precision.BFLOAT16 and runtime is not Runtime.OPENVINO:
        raise UsageError("--precision bfloat16: onnxruntime has none on a CPU", hint="add --runtime openvino")
    if runtime is Runtime.OPENVINO and gpus:
        raise UsageError(
            f"--runtime openvino runs on the CPU, --device {device} does not", hint="leave one of them out"
        )
