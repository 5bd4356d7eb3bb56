"""Make tests/tflite/tiny.tflite: a network of three layers with its contract, for tests that damage it.

python tools/make_tflite_fixture.py
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from toolkit.exporting.formats.to_tflite import with_metadata
from toolkit.images.spec import Preprocess
from toolkit.model_files.contract import Contract

OUT = Path(__file__).parent.parent / "tests" / "tflite" / "tiny.tflite"


def main() -> None:
    """Build, convert, write."""
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    network.layers[-1].set_weights([weight * np.float32(30) for weight in network.layers[-1].get_weights()])

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.uint8)])
    def serve(images: tf.Tensor) -> tf.Tensor:
        return network(tf.cast(images, tf.float32))

    converted = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()]).convert()
    contract = Contract(labels=("Cat", "Dog"), preprocess=Preprocess(height=16, width=16), recipe="made for tests")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(with_metadata(converted, contract))


if __name__ == "__main__":
    main()
