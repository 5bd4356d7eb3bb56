"""The network that is exported: the contract's input and output around the trained layers, no augmentation.

Numbers come from three places, in this order: the bundle (its networks take 0..255), the layers themselves (a Rescaling
layer, a last softmax or sigmoid), and what the caller says. Where none of them tells, that is an error, no guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from toolkit.core.errors import ModelError, UsageError
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, Values

INPUT: Final = "images"
OUTPUT: Final = "probabilities"
MAX_BATCH: Final = 32
MAX_LAYER_BYTES: Final = 1 << 30

Probabilities = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

_SCALES: Final = {Values.BYTES: (1.0, 0.0), Values.UNIT: (1 / 255, 0.0), Values.SYMMETRIC: (1 / 127.5, -1.0)}
# Layers that change an image only while training, beside those whose name begins with Random. RandomCrop is none of
# them: it crops the centre afterwards, so the layers behind it need it.
_AUGMENTATIONS: Final = frozenset({"AugMix", "CutMix", "MixUp", "RandAugment"})


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network in the form in which it is exported.

    Attributes:
        contract: what every file of it carries.
        layers: the trained layers without augmentation: float32 (N, H, W, C) of `values` -> `output`.
        values: what the layers want.
        output: what the layers give.
    """

    contract: Contract
    layers: keras.Model
    values: Values
    output: Output

    def body(self, images: tf.Tensor) -> tf.Tensor:
        """Probabilities (N, K) of float32 images (N, H, W, C) with values 0..255."""
        scale, offset = _SCALES[self.values]
        if (scale, offset) != (1.0, 0.0):
            images = images * scale + offset
        raw = self.layers(images, training=False)
        if self.output is Output.LOGITS:
            raw = tf.nn.softmax(raw) if raw.shape[-1] > 1 else tf.nn.sigmoid(raw)
        if raw.shape[-1] == 1:
            raw = tf.concat([1.0 - raw, raw], axis=-1)
        return raw

    def serving(self, dtype: tf.DType = tf.uint8) -> Any:
        """The tf.function `images` (N, H, W, C) -> {"probabilities": float32 (N, K)}, N dynamic."""

        def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {OUTPUT: self.body(tf.cast(images, tf.float32))}

        shape = [None, *self.contract.preprocess.shape]
        return tf.function(serve, input_signature=[tf.TensorSpec(shape, dtype, name=INPUT)])

    @property
    def batch(self) -> int:
        """SampleImages that are computed at a time: at most 32, fewer where the largest layer would take over 1 GiB."""
        outputs = (layer.output.shape[1:] for layer in self.layers.layers)
        largest = max(4 * int(np.prod(shape)) for shape in outputs)
        return max(1, min(MAX_BATCH, MAX_LAYER_BYTES // largest))

    def predict(self, images_u8: Images) -> Probabilities:
        """What Keras itself computes: probabilities float32 (N, K) of images uint8 (N, H, W, C)."""
        serve, n = self.serving(), self.batch
        batches = [serve(images_u8[at : at + n])[OUTPUT].numpy() for at in range(0, len(images_u8), n)]
        return np.concatenate(batches)


def without_augmentation(model: keras.Model) -> keras.Model:
    """The same layers, the same weights, without those that only change images while training."""
    shape = input_shape(model)
    images = keras.Input(shape, name=INPUT)
    return keras.Model(images, _apply(model, images))


def _apply(layer: keras.Layer, images: Any) -> Any:
    if is_augmentation(layer):
        return images
    if isinstance(layer, keras.Sequential):
        for inner in layer.layers:
            images = _apply(inner, images)
        return images
    if isinstance(layer, keras.Model) and hasattr(layer, "_run_through_graph"):
        plain = keras.models.clone_model(
            layer,
            input_tensors=images,
            clone_function=lambda inner: inner,
            call_function=lambda inner, *args, **kwargs: (
                _apply(inner, args[0]) if _contains_augmentation(inner) else inner(*args, **kwargs)
            ),
        )
        return plain.outputs[0]
    if isinstance(layer, keras.layers.Flatten):
        # A reshape to a known size: Keras' own computes the batch at run time, which costs a device six operations.
        return keras.ops.reshape(images, (-1, int(np.prod(images.shape[1:]))))
    return layer(images)


def is_augmentation(layer: keras.Layer) -> bool:
    """Whether `layer` changes images only while training."""
    name = type(layer).__name__
    return (name.startswith("Random") and name != "RandomCrop") or name in _AUGMENTATIONS


def _contains_augmentation(layer: keras.Layer) -> bool:
    return any(is_augmentation(inner) for inner in _flat(layer))


def _flat(layer: keras.Layer) -> Iterator[keras.Layer]:
    """All layers within `layer`, in order, containers unfolded."""
    inner = getattr(layer, "layers", None)
    if not inner:
        yield layer
        return
    for one in inner:
        yield from _flat(one)


def input_shape(model: keras.Model) -> tuple[int, int, int]:
    """(H, W, C) of a network with one image as its input.

    Raises:
        ModelError: several inputs, or one of another or of an open shape.
    """
    shape = model.input_shape
    if isinstance(shape, (list, dict)) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise ModelError(f"the network's input is {shape}; expected one image batch (None, height, width, 1 or 3)")
    if None in shape[1:]:
        raise ModelError(
            f"the network's input is {shape}: its height and width are open",
            hint="build the model with a fixed keras.Input((height, width, channels))",
        )
    return tuple(int(side) for side in shape[1:])  # type: ignore[return-value]


def find_values(model: keras.Model) -> Values | None:
    """What the layers want, where a Rescaling layer says so before anything else touches the values.

    `Rescaling(1/255)` and `Rescaling(1/127.5, -1)` turn bytes into small numbers: such a network wants 0..255.
    """
    for layer in _flat(model):
        if is_augmentation(layer) or isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.layers.Rescaling):
            low = np.min(layer.offset)
            high = np.max(np.asarray(layer.scale) * 255.0 + layer.offset)
            return Values.BYTES if low >= -1.01 and 0.5 <= high <= 1.01 else None
        return None
    return None


def find_output(model: keras.Model) -> Output | None:
    """What the layers give, where the last one is a softmax or a sigmoid."""
    last = list(_flat(model))[-1]
    activation = getattr(last, "activation", None)
    name = getattr(activation, "__name__", type(last).__name__.lower())
    return Output.PROBABILITIES if name in ("softmax", "sigmoid") else None


def build(model: keras.Model, contract: Contract, values: Values, output: Output) -> Network:
    """The exported form of `model`.

    Raises:
        ModelError: the output's columns do not fit the class names, or are not probabilities over classes.
    """
    layers = without_augmentation(model)
    shape = layers.output_shape
    n_labels = len(contract.labels)
    if len(shape) != 2 or not (shape[1] == n_labels or (shape[1] == 1 and n_labels == 2)):
        raise ModelError(f"the network's output is {shape}; expected {n_labels} columns for {n_labels} class names")
    last = list(_flat(model))[-1]
    if shape[1] > 1 and getattr(getattr(last, "activation", None), "__name__", "") == "sigmoid":
        raise ModelError(
            f"the last layer has {shape[1]} sigmoid outputs: several labels for one image, whose sum is not 1",
            hint="toolkit exports networks that give one label an image (softmax, or one sigmoid)",
        )
    return Network(contract=contract, layers=layers, values=values, output=output)


def require(values: Values | None, output: Output | None, name: str) -> tuple[Values, Output]:
    """Both, or the error that says which option settles it.

    Raises:
        UsageError: one of them is not known.
    """
    if values is None:
        raise UsageError(
            f"{name}: whether the network wants values 0..255, 0..1 or -1..1 cannot be read from its layers",
            hint="say how it was trained: --values 0..255, --values 0..1 or --values=-1..1",
        )
    if output is None:
        raise UsageError(
            f"{name}: whether the network gives logits or probabilities cannot be read from its last layer",
            hint="say what it gives: --output logits or --output probabilities",
        )
    return values, output
