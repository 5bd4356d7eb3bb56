"""The weights of an int8 TFLite file, rounded together (see `weight_rounding`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.exporting.formats.tflite_int8.file import (
    CONV,
    DEPTHWISE,
    Array,
    Layer,
    activations,
    packed,
    read,
    store,
    stored,
    weighted_layers,
)
from toolkit.exporting.formats.weight_rounding import N_IMAGES, WIDEST, Window, moments, rounded, same_padding
from toolkit.exporting.serving_graph import Images

Moments = Mapping[int, Array]
"""Number of a layer with weights -> what its convolution sees (see `weight_rounding.moments`)."""


def layer_moments(float32: bytes, images_u8: Images) -> Moments:
    """What the convolutions of a file see, but those that are too wide or not understood.

    Args:
        float32: takes float32 images.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    model = read(float32)
    convolutions = {at: layer for at, layer in enumerate(weighted_layers(model)) if layer.kind in (CONV, DEPTHWISE)}
    sums: dict[int, Array] = {}
    rng = np.random.default_rng(0)
    sources = sorted({layer.source for layer in convolutions.values()})
    for seen in activations(float32, sources, images_u8[:N_IMAGES]):
        for at, layer in convolutions.items():
            values = seen[layer.source]
            window = _window(layer, tuple(model.subgraphs[0].tensors[layer.weight].shape), values.shape)
            if window is not None and window.width(values.shape[3]) <= WIDEST:
                sums[at] = sums.get(at, 0) + moments(values, window, rng)
    return sums


def with_weights_rounded_together(int8: bytes, float32: bytes, seen: Moments) -> bytes:
    """The int8 file with other weights in its convolutions; as it is where the two files do not have the same layers.

    Args:
        int8: the file.
        float32: the same network, converted the same way but for the numbers.
        seen: by the convolutions of `float32`.
    """
    model, exact = read(int8), read(float32)
    layers, originals = weighted_layers(model), weighted_layers(exact)
    if [layer.kind for layer in layers] != [layer.kind for layer in originals]:
        return int8
    changed: set[int] = set()
    for at, moment in seen.items():
        target = model.subgraphs[0].tensors[layers[at].weight]
        original = exact.subgraphs[0].tensors[originals[at].weight]
        same = list(target.shape) == list(original.shape) and target.quantization
        if layers[at].weight in changed or not same or not np.isfinite(moment).all():
            continue
        changed.add(layers[at].weight)
        depthwise = layers[at].kind == DEPTHWISE
        weights = stored(exact, original, np.float32)  # (O, height, width, I), depthwise (1, height, width, O)
        weights = np.moveaxis(weights, -1, 0) if depthwise else weights
        grouped = weights.reshape(len(moment), -1, moment.shape[1])
        scales = np.asarray(target.quantization.scale, np.float64)
        scales = np.broadcast_to(scales, len(weights)).reshape(grouped.shape[:2])
        steps = rounded(grouped, scales, moment, 127).reshape(weights.shape)
        steps = np.moveaxis(steps, 0, -1) if depthwise else steps
        store(model, target, steps)
    return packed(model)


def _window(layer: Layer, weights: tuple[int, ...], seen: tuple[int, ...]) -> Window | None:
    """What a convolution looks at in an input (N, H, W, C); None where the channels are in groups but not one each."""
    options: Any = layer.options
    depthwise = layer.kind == DEPTHWISE
    if not depthwise and weights[3] != seen[3]:
        return None
    kernel, strides = weights[1:3], (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    axes = list(zip(seen[1:3], kernel, strides, dilations, strict=True))
    if options.padding == 0:  # SAME
        places = [same_padding(*axis) for axis in axes]
    else:
        places = [(0, (size - (kernel - 1) * dilation - 1) // stride + 1) for size, kernel, stride, dilation in axes]
    before, size = zip(*places, strict=True)
    return Window(
        kernel=(kernel[0], kernel[1]),
        strides=strides,
        dilations=dilations,
        before=before,
        size=size,
        groups=seen[3] if depthwise else 1,
    )
