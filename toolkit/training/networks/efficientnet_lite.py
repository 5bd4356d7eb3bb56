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

from toolkit.model_files.pretrained import HEAD_FILTERS, STEM_FILTERS, Block, lite0_blocks

_CONVOLUTIONS: Final = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
_NORMS: Final = {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}


def efficientnet_lite0(shape: tuple[int, int, int], cut: str = "") -> keras.Model:
    """The network up to its last convolution, with random weights; its scaling is its first layer.

    Args:
        shape: (H, W, 3).
        cut: "block0".."block15" ends it after that block; "" or "head" after the last convolution.

    Returns:
        float32 (N, H, W, 3), values 0..255 -> float32 (N, ceil(H/32), ceil(W/32), 1280), values 0..6.
    """
    images = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="scaling")(images)
    x = keras.layers.Conv2D(STEM_FILTERS, 3, 2, "same", use_bias=False, name="stem")(x)
    x = _normed(x, "stem", relu=True)
    for number, block in enumerate(lite0_blocks()):
        x = _block(x, f"block{number}", block)
        if cut == f"block{number}":
            return keras.Model(images, x, name="efficientnet_lite0")
    x = keras.layers.Conv2D(HEAD_FILTERS, 1, use_bias=False, name="head")(x)
    return keras.Model(images, _normed(x, "head", relu=True), name="efficientnet_lite0")


def _block(x: Any, name: str, block: Block) -> Any:
    inputs = x
    if block.expansion > 1:
        x = keras.layers.Conv2D(block.before * block.expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normed(x, f"{name}_expand", relu=True)
    depthwise = keras.layers.DepthwiseConv2D(
        block.kernel, block.stride, "same", use_bias=False, name=f"{name}_depthwise"
    )
    x = _normed(depthwise(x), f"{name}_depthwise", relu=True)
    x = keras.layers.Conv2D(block.after, 1, use_bias=False, name=f"{name}_project")(x)
    x = _normed(x, f"{name}_project", relu=False)
    return keras.layers.Add(name=f"{name}_add")([x, inputs]) if block.skips else x


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


def lite0_tensors(network: keras.Model) -> dict[str, npt.NDArray[np.float32]]:
    """The network's weights by PyTorch's names, in PyTorch's shapes: what `assign_lite0` takes."""
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for layer in network.layers:
        prefix = _torch_name(layer.name) if layer.weights else ""
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{prefix}.{part}": value for part, value in zip(parts, layer.get_weights(), strict=True)}
        elif prefix:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            tensors[f"{prefix}.weight"] = np.transpose(
                layer.get_weights()[0], (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
            )
    return tensors


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
