"""What a recipe's layers do to shapes, parameters and memory, told without TensorFlow.

Each layer class that a recipe may name has its rule here, so that a network that cannot be built, or would not fit into
memory, is refused before an image is decoded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError, MachineError
from toolkit.model_files.pretrained import HEAD_FILTERS, STEM_FILTERS, lite0_blocks
from toolkit.training.recipes.recipe import Backbone, Layer, Recipe, RecipeError

Shape = tuple[int, ...]

_POOLS: Final = frozenset({"MaxPooling2D", "AveragePooling2D"})
_CONVOLUTIONS: Final = frozenset({"Conv2D", "SeparableConv2D", "DepthwiseConv2D"})
_GLOBAL: Final = frozenset({"GlobalMaxPooling2D", "GlobalAveragePooling2D"})
_SLOTS: Final = {"adam": 2, "adamw": 2, "nadam": 2, "adamax": 2, "adadelta": 2, "rmsprop": 1, "adagrad": 1, "sgd": 0}
_STRIDE: Final = 32  # of every backbone
_NORMS: Final = 4  # values of batch normalisation for each channel
_BACKBONE_VALUES: Final = 350  # for each pixel, of a training of all blocks: measured with EfficientNet-Lite0
_APPLICATIONS: Final = {  # channels of the last layer, parameters: as Keras builds them
    "MobileNetV3Small": (576, 939_120),
    "MobileNetV3Large": (960, 2_996_352),
    "EfficientNetV2B0": (1280, 5_919_312),
    "EfficientNetV2B1": (1280, 6_931_124),
    "EfficientNetV2B2": (1408, 8_769_374),
    "EfficientNetV2B3": (1536, 12_930_622),
    "ConvNeXtTiny": (768, 27_820_128),
}
_SMALL_BATCH: Final = 8
_TENSORFLOW: Final = 800 << 20  # bytes that TensorFlow takes with no network at all


@dataclass(frozen=True, slots=True)
class Step:
    """What one layer gives: its output's shape without the batch, and its parameters."""

    kind: str
    output: Shape
    parameters: int


def trace(recipe: Recipe, n_classes: int) -> list[Step]:
    """One step per layer of the network (not of the augmentation).

    >>> from toolkit.training.recipes.recipe import load_recipe
    >>> steps = trace(load_recipe("flowers"), 5)
    >>> steps[1].output, sum(step.parameters for step in steps)
    ((180, 180, 16), 3989285)

    Raises:
        RecipeError: a layer leaves no pixels, or cannot follow the one before.
    """
    shape: Shape = recipe.preprocess.shape
    steps = []
    if recipe.backbone:
        steps.append(_backbone_step(recipe.backbone, shape))
        shape = steps[0].output
    for index, layer in enumerate(recipe.layers, 1):
        try:
            step = _step(layer, shape, n_classes)
        except ValueError as error:
            raise RecipeError(
                f"recipe {recipe.name!r}: [[layers]] {index} {layer.kind} cannot follow an output of shape "
                f"{'x'.join(map(str, shape))}: {error}",
                hint="a larger image (--image-size), or fewer layers in a copy of the recipe (toolkit recipe copy)",
            ) from None
        steps.append(step)
        shape = step.output
    if len(shape) != 1:
        raise RecipeError(
            f"recipe {recipe.name!r}: the last layer gives {'x'.join(map(str, shape))} values, expected one row",
            hint="put a Flatten or GlobalAveragePooling2D layer before the last Dense layer",
        )
    return steps


def _backbone_step(backbone: Backbone, shape: Shape) -> Step:
    height, width = (-(-side // _STRIDE) for side in shape[:2])
    if backbone.name != "EfficientNetLite0":
        channels, parameters = _APPLICATIONS[backbone.name]
        return Step(backbone.name, (height, width, channels), parameters)
    height, width = (-(-side // 2) for side in shape[:2])
    channels, parameters = STEM_FILTERS, STEM_FILTERS * (27 + _NORMS)
    for number, block in enumerate(lite0_blocks()):
        inner = block.before * block.expansion
        parameters += inner * (block.before + _NORMS) if block.expansion > 1 else 0
        parameters += inner * (block.kernel**2 + _NORMS) + block.after * (inner + _NORMS)
        height, width, channels = -(-height // block.stride), -(-width // block.stride), block.after
        if backbone.cut == f"block{number}":
            return Step(backbone.name, (height, width, channels), parameters)
    return Step(backbone.name, (height, width, HEAD_FILTERS), parameters + HEAD_FILTERS * (channels + _NORMS))


def check_classes(recipe: Recipe, n_classes: int) -> None:
    """Refuse data whose number of classes the recipe's last layer cannot tell apart.

    Raises:
        InputError: so it is.
    """
    units = recipe.layers[-1].arguments["units"]
    able = 2 if recipe.binary else n_classes if units == "classes" else units
    if able != n_classes:
        raise InputError(
            f"recipe {recipe.name!r} tells {able} classes apart, the data have {n_classes}",
            hint='choose another recipe, or give the last layer units = "classes" in a copy: toolkit recipe copy',
        )


def batch_bytes(recipe: Recipe, n_classes: int) -> tuple[int, int]:
    """Estimated memory of a training: bytes that do not depend on the batch, and bytes per image of a batch.

    A layer's output is kept for the way back, where its gradient is as large; convolutions also take working space.
    The factors were measured: 1.7 to 2.0 for dense layers on pixels, 1.5 to 2.5 for convolutions.
    """
    steps = trace(recipe, n_classes)
    values = sum(math.prod(step.output) * (2.5 if step.kind in _CONVOLUTIONS else 2.0) for step in steps)
    if recipe.backbone:
        values += math.prod(recipe.preprocess.shape[:2]) * _BACKBONE_VALUES
    parameters = sum(step.parameters for step in steps)
    return _TENSORFLOW + 4 * parameters * (2 + _SLOTS[recipe.train.optimizer]), int(4 * values)


def check_memory(recipe: Recipe, n_classes: int, available: int | None) -> None:
    """Refuse a training whose batch would not fit.

    Args:
        available: bytes; None where that is not known, and nothing is refused.

    Raises:
        MachineError: it would not fit; the hint says what would.
    """
    fixed, each = batch_bytes(recipe, n_classes)
    batch = recipe.train.batch_size
    needed = fixed + each * batch
    if available is None or needed <= available:
        return
    spec = recipe.preprocess
    raise MachineError(
        f"recipe {recipe.name!r} at {spec.height}x{spec.width} and {batch} images a batch needs about "
        f"{needed / 2**30:.1f} GiB of memory; {available / 2**30:.1f} GiB are free here",
        hint=_what_fits(recipe, n_classes, available),
    )


def _what_fits(recipe: Recipe, n_classes: int, available: int) -> str:
    """A smaller batch, or smaller images, by the same estimate; where none fits, what is too large."""
    fixed, each = batch_bytes(recipe, n_classes)
    fitting = (available - fixed) // each
    if fitting >= 1:
        return f"--batch-size {1 << (fitting.bit_length() - 1)} would fit"
    batch, spec = min(recipe.train.batch_size, _SMALL_BATCH), recipe.preprocess
    for share in range(15, 0, -1):
        height, width = (max(16, side * share // 256 * 16) for side in (spec.height, spec.width))
        smaller = replace(recipe, preprocess=replace(spec, height=height, width=width))
        try:
            fixed, each = batch_bytes(smaller, n_classes)
        except RecipeError:
            break
        if fixed + each * batch <= available:
            return f"--image-size {height}x{width} --batch-size {batch} would fit"
    largest = max(trace(recipe, n_classes), key=lambda step: step.parameters)
    return (
        f"no smaller batch or image would fit: {largest.kind} alone has {largest.parameters:,} parameters; give layers "
        "fewer units or filters in a copy of the recipe (toolkit recipe copy)"
    )


def free_memory() -> int | None:
    """Bytes that this process may still take: what the machine has free, within the limit of its control group."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(free, 0)


def may_use_gpu() -> bool:
    """Whether TensorFlow might find a GPU, told without importing it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and Path("/dev/nvidiactl").exists()


def _step(layer: Layer, shape: Shape, n_classes: int) -> Step:
    kind, given = layer.kind, layer.arguments
    if kind in _CONVOLUTIONS or kind in _POOLS or kind in _GLOBAL or kind in ("ZeroPadding2D", "SpatialDropout2D"):
        if len(shape) != 3:
            raise ValueError("it needs height x width x channels")
        return _spatial(layer, (shape[0], shape[1], shape[2]))
    if kind == "Flatten":
        return Step(kind, (math.prod(shape),), 0)
    if kind == "Dense":
        units = n_classes if given["units"] == "classes" else given["units"]
        return Step(kind, (*shape[:-1], units), (shape[-1] + given.get("use_bias", True)) * units)
    if kind in ("BatchNormalization", "LayerNormalization"):
        learned = given.get("scale", True) + given.get("center", True)
        return Step(kind, shape, shape[-1] * (learned + 2 * (kind == "BatchNormalization")))
    return Step(kind, shape, 0)


def _spatial(layer: Layer, shape: tuple[int, int, int]) -> Step:
    kind, given = layer.kind, layer.arguments
    height, width, channels = shape
    if kind in _GLOBAL:
        return Step(kind, (channels,), 0)
    if kind == "SpatialDropout2D":
        return Step(kind, shape, 0)
    if kind == "ZeroPadding2D":
        above, left = _pair(given.get("padding", 1))
        return Step(kind, (height + 2 * above, width + 2 * left, channels), 0)
    window = _pair(given.get("pool_size", 2) if kind in _POOLS else given["kernel_size"])
    strides = _pair(given.get("strides", window if kind in _POOLS else 1))
    dilation = _pair(given.get("dilation_rate", 1))
    sides = [
        _side(side, (w - 1) * d + 1, s, given.get("padding", "valid"))
        for side, w, d, s in zip((height, width), window, dilation, strides, strict=True)
    ]
    if kind in _POOLS:
        return Step(kind, (*sides, channels), 0)
    filters, parameters = _kernel(kind, given, window[0] * window[1], channels)
    return Step(kind, (*sides, filters), parameters)


def _kernel(kind: str, given: Mapping[str, Any], window: int, channels: int) -> tuple[int, int]:
    """Output channels and parameters of a convolution."""
    bias, multiplier = int(given.get("use_bias", True)), given.get("depth_multiplier", 1)
    if kind == "DepthwiseConv2D":
        filters = channels * multiplier
        return filters, filters * (window + bias)
    filters, groups = given["filters"], given.get("groups", 1)
    if kind == "SeparableConv2D":
        return filters, channels * multiplier * (window + filters) + bias * filters
    if channels % groups or filters % groups:
        raise ValueError(f"{channels} channels and {filters} filters cannot be parted into {groups} groups")
    return filters, filters * (window * channels // groups + bias)


def _side(side: int, window: int, stride: int, padding: str) -> int:
    size = -(-side // stride) if padding == "same" else (side - window) // stride + 1
    if size < 1:
        raise ValueError(f"a window of {window} does not fit into {side} pixels")
    return size


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return first, second
