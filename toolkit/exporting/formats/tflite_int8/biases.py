"""An int8 TFLite file whose biases take back what the rounding of its weights does to the mean of each channel.

The same correction as for ONNX (Nagel et al., "Data-Free Quantization", arXiv:1906.04721, section 4.2): the converter
rounds weights, and each sum over thousands of rounded weights moves a little.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolkit.exporting.formats.tflite_int8.file import (
    CONV,
    DEPTHWISE,
    Array,
    activations,
    dequantized,
    packed,
    read,
    store,
    stored,
    weighted_layers,
)
from toolkit.exporting.serving_graph import Images

Means = Mapping[int, Array]
"""Number of a tensor -> the mean of each of its channels (C,)."""


def channel_means(float32: bytes, images_u8: Images) -> Means:
    """The mean of each channel (the last axis) of what the layers with weights see, over images.

    Args:
        float32: takes float32 images.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    sums: dict[int, Array] = {}
    for seen in activations(float32, sorted({layer.source for layer in weighted_layers(read(float32))}), images_u8):
        for tensor, values in seen.items():
            mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
            sums[tensor] = sums.get(tensor, 0) + mean * len(values)
    return {tensor: total / len(images_u8) for tensor, total in sums.items()}


def with_corrected_biases(int8: bytes, float32: bytes, means: Means) -> bytes:
    """The int8 file with corrected biases; as it is where the two files do not have the same layers.

    Args:
        int8: the file.
        float32: the same network, converted the same way but for the numbers.
        means: of what the layers of `float32` see.
    """
    rounded, exact = read(int8), read(float32)
    layers, originals = weighted_layers(rounded), weighted_layers(exact)
    if [layer.kind for layer in layers] != [layer.kind for layer in originals]:
        return int8
    seen: set[int] = set()
    for layer, original in zip(layers, originals, strict=True):
        weight, bias = (rounded.subgraphs[0].tensors[at] for at in (layer.weight, layer.bias))
        plain = exact.subgraphs[0].tensors[original.weight]
        if layer.bias < 0 or layer.bias in seen or list(weight.shape) != list(plain.shape) or not weight.quantization:
            continue
        seen.add(layer.bias)
        if layer.kind == CONV and plain.shape[3] != len(means[original.source]):
            continue  # in groups
        lost = stored(exact, plain, np.float32) - dequantized(rounded, weight)
        moved = _moved(layer.kind, lost, means[original.source])
        scale = np.asarray(bias.quantization.scale, np.float64)
        steps = stored(rounded, bias, "<i4") + moved / scale
        if np.isfinite(steps).all():
            store(rounded, bias, np.clip(np.rint(steps), -(2**31), 2**31 - 1).astype("<i4"))
    return packed(rounded)


def _moved(kind: int, lost: Array, mean: Array) -> Array:
    """What the weights `lost` would have added to the mean of each output channel.

    Args:
        kind: of the layer.
        lost: (O, height, width, I), depthwise (1, height, width, O), dense (O, I).
        mean: of each input channel (I,).
    """
    moved: Array
    if kind == DEPTHWISE:
        moved = lost.sum(axis=(0, 1, 2)) * np.repeat(mean, lost.shape[3] // len(mean))
    else:
        whole = lost.sum(axis=(1, 2)) if kind == CONV else lost
        moved = whole @ np.resize(mean, whole.shape[1])  # a dense layer may take an image laid flat, channels last
    return moved
