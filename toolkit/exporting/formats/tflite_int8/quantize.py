"""Network -> int8 TFLite files, of which the export keeps the one that is nearest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from toolkit.exporting.calibration import Calibration
from toolkit.exporting.formats.tflite_int8.biases import channel_means, with_corrected_biases
from toolkit.exporting.formats.tflite_int8.head import with_float_head
from toolkit.exporting.formats.tflite_int8.input import with_exact_input
from toolkit.exporting.formats.tflite_int8.ranges import with_percentile_ranges
from toolkit.exporting.formats.tflite_int8.weights import layer_moments, with_weights_rounded_together
from toolkit.exporting.formats.to_tflite import calibrated, convert, converting
from toolkit.exporting.serving_graph import Images, Network

N_MEANS: Final = 96
"""Images that the means of channels are taken from: TFLite's runtime keeps to one processor."""


def to_int8(network: Network, images_u8: Images) -> Iterator[tuple[bool, bytes]]:
    """Files in the order in which they are tried, each with whether it is only for a network that no other suits.

    Weights and activations are int8, weights per output channel; one file for each way to choose the ranges. Where
    both miss, one with its last layer in float32, and one as the converter made it.

    Args:
        network: the network.
        images_u8: (N, H, W, C), images that the network was trained on.

    Raises:
        ModelError: a layer that TFLite does not know.
    """
    exact, known = convert(network, None, takes_float=True), calibrated(network, images_u8)
    moments, means = layer_moments(exact, images_u8), channel_means(exact, images_u8[:N_MEANS])
    flat, corrected = {}, {}
    for calibration in Calibration:
        flat[calibration] = with_exact_input(in_integers(network, known, calibration, images_u8))
        rounded = with_weights_rounded_together(flat[calibration], exact, moments)
        corrected[calibration] = with_corrected_biases(rounded, exact, means)
        yield False, corrected[calibration]
    if (mixed := with_float_head(corrected[Calibration.PERCENTILE], exact)) is not None:
        yield True, mixed
    yield True, flat[Calibration.MINMAX]


def in_integers(network: Network, known: bytes, calibration: Calibration, images_u8: Images) -> bytes:
    """The int8 file as the converter makes it: uint8 (1, H, W, C), resizable batch -> float32 (1, K).

    Args:
        network: the network.
        known: `calibrated(network, images_u8)`.
        calibration: how the ranges of its values are chosen.
        images_u8: (N, H, W, C), images that the network was trained on.

    Raises:
        ModelError: a layer that TFLite does not know.
    """
    with converting(network):
        ranges = with_percentile_ranges(known, images_u8) if calibration is Calibration.PERCENTILE else known
        model: bytes = mlir_quantize(ranges, input_data_type=tf.uint8)
    return model
