"""The upper layers of EfficientNet-Lite0 as they are trained on CPUs: the same weights, fewer passes over memory.

Batch normalisation that stays as it is becomes a factor of the kernel before it, and 1x1 convolutions become products
of matrices, whose gradients TensorFlow computes several times faster. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from toolkit.model_files.pretrained import lite0_blocks


def first_block(backbone: keras.Model) -> int:
    """The lowest block of which a layer is trained, 0 with the stem, 16 where it is the head alone."""
    name = next(layer.name for layer in backbone.layers if layer.trainable_weights).partition("_")[0]
    if name == "head":
        return len(lite0_blocks())
    return int(name.removeprefix("block")) if name.startswith("block") else 0


def upper_network(backbone: keras.Model, above: Sequence[Any], first: int, shape: tuple[int, ...]) -> keras.Model:
    """A model of the blocks from `first` on and the layers above; it shares their weights.

    Args:
        backbone: EfficientNet-Lite0, what is trained of it marked so.
        above: the layers of the recipe.
        first: 0 has the stem as well.
        shape: (h, w, C) of what the blocks before give, (H, W, 3) of uint8 images where there are none.
    """
    layers = {layer.name: layer for layer in backbone.layers}

    def convolution(x: Any, name: str, *, relu: bool = True) -> Any:
        layer, norm = layers[name], layers[f"{name}_bn"]
        x = norm(layer(x)) if norm.trainable else _FoldedConvolution(layer, norm)(x)
        return keras.ops.relu6(x) if relu else x

    given = keras.Input(shape, dtype="float32" if first else "uint8")
    x = given
    if not first:
        x = convolution(layers["scaling"](keras.ops.cast(x, "float32")), "stem")
    for number, block in enumerate(lite0_blocks()):
        name = f"block{number}"
        if number < first or f"{name}_project" not in layers:  # below, or cut off
            continue
        inputs = x
        if block.expansion > 1:
            x = convolution(x, f"{name}_expand")
        x = convolution(convolution(x, f"{name}_depthwise"), f"{name}_project", relu=False)
        if block.skips:
            x = x + inputs
    if "head" in layers:
        x = convolution(x, "head")
    for layer in above:
        x = layer(x)
    return keras.Model(given, x, name="upper")


class _FoldedConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A convolution without bias and the batch normalisation after it, which is not trained, as one operation."""

    def __init__(self, convolution: Any, norm: Any) -> None:
        super().__init__(name=f"{convolution.name}_folded")
        self._convolution, self._norm = convolution, norm
        self.built = True

    def call(self, x: Any) -> Any:
        ops, layer, norm = keras.ops, self._convolution, self._norm
        factor = norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)
        shift = norm.beta - norm.moving_mean * factor
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = layer.kernel * ops.reshape(factor, (1, 1, -1, 1))
            return ops.depthwise_conv(x, kernel, layer.strides, "same") + shift
        kernel = layer.kernel * factor
        if layer.kernel_size != (1, 1):
            return ops.conv(x, kernel, layer.strides, "same") + shift
        height, width, channels = x.shape[1:]
        flat = ops.matmul(ops.reshape(x, (-1, channels)), kernel[0, 0]) + shift
        return ops.reshape(flat, (-1, height, width, kernel.shape[-1]))
