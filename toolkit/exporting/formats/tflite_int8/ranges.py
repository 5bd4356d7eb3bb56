"""The ranges of the values in a TFLite file, cut to where nearly all of them lie."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from toolkit.exporting.calibration import Calibration, Observer
from toolkit.exporting.formats.tflite_int8.file import activations, packed, read, weighted_layers
from toolkit.exporting.serving_graph import Images

_FLOAT32: Final = 0


def with_percentile_ranges(calibrated: bytes, images_u8: Images) -> bytes:
    """The file with the ranges of `Calibration.PERCENTILE` between its first and its last layer with weights.

    The scaled image keeps each step of a byte, and the logits their range: 256 steps of them are few enough.

    Args:
        calibrated: a float32 file that takes float32 images and holds the range of each of its tensors.
        images_u8: (N, H, W, C), images that the network was trained on.
    """
    model = read(calibrated)
    graph = model.subgraphs[0]
    layers = {layer.target for layer in weighted_layers(model)}
    targets = [int(operator.outputs[0]) for operator in graph.operators]
    places = [at for at, target in enumerate(targets) if target in layers]
    within = targets[min(places, default=0) : max(places, default=0)]
    between = [target for target in within if _is_batch(graph.tensors[target])]
    observer = Observer(len(images_u8))
    for seen in activations(calibrated, between, images_u8):
        for target, values in seen.items():
            observer.add(str(target), values)
    for name, (lowest, highest) in observer.ranges(Calibration.PERCENTILE).items():
        known = graph.tensors[int(name)].quantization
        known.min, known.max = np.array([lowest], np.float32), np.array([highest], np.float32)
    return packed(model)


def _is_batch(tensor: Any) -> bool:
    """Whether a tensor holds float32 values of each image, and their range is known."""
    return tensor.type == _FLOAT32 and len(tensor.shape) >= 2 and getattr(tensor.quantization, "max", None) is not None
