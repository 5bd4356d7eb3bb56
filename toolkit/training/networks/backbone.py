"""A published network with its weights, for a recipe's layers to stand on. Imports TensorFlow."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from toolkit.core.errors import MachineError
from toolkit.core.files import regular
from toolkit.core.text import first_line, printable
from toolkit.model_files.pretrained import read_lite0
from toolkit.training.networks.efficientnet_lite import assign_lite0, efficientnet_lite0
from toolkit.training.recipes.recipe import Backbone, RecipeError

_UPPER: Final = 0.6  # of a network of Keras Applications: the layers from here on are its upper ones
_LITE0_UPPER: Final = "block11"


def build_backbone(wanted: Backbone, shape: tuple[int, int, int], *, seed: int = 0) -> keras.Model:
    """The network with its weights, without its classifier.

    Args:
        shape: (H, W, 3).
        seed: of the weights, where they are random.

    Returns:
        float32 (N, H, W, 3), values 0..255 -> float32 (N, h, w, C).

    Raises:
        MachineError: the weights are not to be had, or are other ones.
        ValueError: the images are too small for it.
    """
    if wanted.name == "EfficientNetLite0":
        network = efficientnet_lite0(shape, wanted.cut)
        if wanted.weights == "none":
            _draw(network, seed)
        else:
            assign_lite0(network, read_lite0(None if wanted.weights == "imagenet" else Path(wanted.weights)))
        return network
    build = getattr(keras.applications, wanted.name)
    if wanted.weights not in ("none", "imagenet"):
        _check_digest(wanted)
    if wanted.weights == "none":
        network = build(include_top=False, weights=None, input_shape=shape)
        _draw(network, seed)
        return network
    try:
        return build(include_top=False, weights=wanted.weights, input_shape=shape)
    except Exception as error:
        raise MachineError(
            f"the weights of {wanted.name} ({printable(wanted.weights)}) are not to be had: {first_line(error)}",
            hint=f"fetch them where there is a network (Keras keeps them in ~/.keras/models) and name the file: "
            f"--weights {wanted.name.lower()}.weights.h5",
        ) from None


def _draw(network: keras.Model, seed: int) -> None:
    """Draw the kernels from `seed`; Keras has drawn them from its global generator."""
    for index, weight in enumerate(network.trainable_weights):
        if len(weight.shape) > 1:
            number = int(np.random.SeedSequence((seed, 3, index)).generate_state(1)[0] >> 1)
            weight.assign(keras.initializers.GlorotUniform(seed=number)(weight.shape))


def tune_from(backbone: keras.Model, wanted: Backbone, depth: str) -> int:
    """Make trainable what is to be tuned of a backbone.

    Batch normalisation of a backbone that has weights keeps the statistics these were trained with.

    Args:
        depth: "none", "upper", "all", or the name of the first layer or block.

    Returns:
        The number of the backbone's layers with weights that are trained.

    Raises:
        RecipeError: the backbone has no such layer.
    """
    layers = backbone.layers
    first = {"none": len(layers), "all": 0}.get(depth)
    if first is None:
        lite0 = wanted.name == "EfficientNetLite0"
        name = _LITE0_UPPER if depth == "upper" and lite0 else depth
        if depth == "upper" and not lite0:
            first = int(len(layers) * _UPPER)
        else:
            first = next((i for i, layer in enumerate(layers) if _belongs(layer.name, name)), None)
        if first is None and depth != "upper":
            raise RecipeError(
                f"[backbone]: tune = {depth!r}: {wanted.name} has no such layer",
                hint="its layers: " + ", ".join(layer.name for layer in layers if layer.weights)[:400],
            )
    first = len(layers) if first is None else first  # cut below its upper blocks: nothing of it is tuned
    for index, layer in enumerate(layers):
        frozen = wanted.weights != "none" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not frozen
    return sum(bool(layer.trainable_weights) for layer in layers)


def _belongs(layer: str, name: str) -> bool:
    return layer == name or layer.startswith(f"{name}_")


def _check_digest(wanted: Backbone) -> None:
    """Refuse a file that is not one of those that Keras itself would fetch for this network.

    Raises:
        MachineError: so it is.
    """
    module: Any = sys.modules[getattr(keras.applications, wanted.name).__module__]
    known = {digest for digests in module.WEIGHTS_HASHES.values() for digest in _flat(digests)}
    path = Path(wanted.weights)
    try:
        with regular(path).open("rb") as file:
            found = {hashlib.file_digest(file, name).hexdigest() for name in ("md5", "sha256") if not file.seek(0)}
    except OSError as error:
        raise MachineError(
            f"{printable(wanted.weights)}: no weights there ({error.strerror})", hint="give --weights their file"
        ) from None
    if not found & known:
        raise MachineError(
            f"{printable(wanted.weights)}: not the weights of {wanted.name} that Keras publishes (digest "
            f"{min(found, key=len)})",
            hint="give --weights the file that Keras keeps in ~/.keras/models, whole",
        )


def _flat(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [digest for part in value for digest in _flat(part)]
