"""EfficientNet-Lite0 in Keras, layer for layer, and how its published weights fit in. Imports TensorFlow.

Tan and Le, "EfficientNet" (arXiv:1905.11946); the Lite variants (Liu, 2020) leave out squeeze-and-excitation and use
ReLU6, so that they quantise well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

_STEM: Final = 32
_HEAD: Final = 1280
_STAGES: Final = (  # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_CONVOLUTIONS: Final = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
_NORMS: Final = {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}


def efficientnet_lite0(shape: tuple[int, int, int]) -> keras.Model:
    """The network up to its last convolution, with random weights; its scaling is its first layer.

    Args:
        shape: (H, W, 3).

    Returns:
        float32 (N, H, W, 3), values 0..255 -> float32 (N, ceil(H/32), ceil(W/32), 1280), values 0..6.
    """
    images = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="scaling")(images)
    x = keras.layers.Conv2D(_STEM, 3, 2, "same", use_bias=False, name="stem")(x)
    x = _normed(x, "stem", relu=True)
    filters, number = _STEM, 0
    for repeats, kernel, stride, expansion, wanted in _STAGES:
        for repeat in range(repeats):
            x = _block(x, f"block{number}", (kernel, 1 if repeat else stride, expansion, filters, wanted))
            filters, number = wanted, number + 1
    x = keras.layers.Conv2D(_HEAD, 1, use_bias=False, name="head")(x)
    return keras.Model(images, _normed(x, "head", relu=True), name="efficientnet_lite0")


def _block(x: Any, name: str, numbers: tuple[int, int, int, int, int]) -> Any:
    """An inverted residual block; `numbers` are kernel, stride, expansion, filters before and after."""
    kernel, stride, expansion, before, after = numbers
    inputs = x
    if expansion > 1:
        x = keras.layers.Conv2D(before * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normed(x, f"{name}_expand", relu=True)
    x = keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _normed(x, f"{name}_depthwise", relu=True)
    x = keras.layers.Conv2D(after, 1, use_bias=False, name=f"{name}_project")(x)
    x = _normed(x, f"{name}_project", relu=False)
    if stride == 1 and before == after:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _normed(x: Any, name: str, *, relu: bool) -> Any:
    x = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def assign_lite0(network: keras.Model, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give the network the published weights.

    Args:
        network: what `efficientnet_lite0` built.
        tensors: by PyTorch's names, as `read_torch_legacy` gives them; those of the classifier are not used.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            prefix = _torch_name(layer.name)
            layer.set_weights([tensors[f"{prefix}.{n}"] for n in ("weight", "bias", "running_mean", "running_var")])
        elif layer.weights:
            kernel = tensors[f"{_torch_name(layer.name)}.weight"]
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            layer.set_weights([np.transpose(kernel, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))])


def _torch_name(name: str) -> str:
    """PyTorch's name of a layer.

    >>> _torch_name("block3_depthwise_bn"), _torch_name("head")
    ('_blocks.3._bn1', '_conv_head')
    """
    ends = {"stem": "_conv_stem", "stem_bn": "_bn0", "head": "_conv_head", "head_bn": "_bn1"}
    if name in ends:
        return ends[name]
    block, _, what = name.partition("_")
    return f"_blocks.{block.removeprefix('block')}.{(_CONVOLUTIONS | _NORMS)[what]}"
