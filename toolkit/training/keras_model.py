"""Recipe -> Keras network. Imports TensorFlow."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from toolkit.training.recipe import Layer, Output, Recipe, RecipeError
from toolkit.training.shape_check import check_classes


@dataclass(frozen=True, slots=True)
class Networks:
    """One network, twice.

    Attributes:
        network: float32 (N, H, W, C), values 0..255 -> logits or probabilities; what is saved and exported.
        trainer: uint8 (N, H, W, C) -> augmentation -> `network`; what is trained. Without augmentation in the recipe
            it only casts.
        augment: the augmentation alone, None where the recipe has none.
    """

    network: keras.Model
    trainer: keras.Model
    augment: keras.Model | None


def build(recipe: Recipe, n_classes: int, *, seed: int) -> Networks:
    """Build the network of `recipe` for `n_classes` classes, compiled for training.

    The initial weights, dropout and augmentation come from `seed` alone; Keras' global generator is not touched.

    Raises:
        InputError: the network's output does not fit the number of classes.
        RecipeError: the layers do not fit together or the picture is too small for them.
    """
    check_classes(recipe, n_classes)
    shape = recipe.preprocess.shape
    try:
        layers = [_layer(layer, n_classes, (seed, 1, i)) for i, layer in enumerate(recipe.layers)]
        network = keras.Sequential([keras.Input(shape, name="pictures"), *layers], name=_name(recipe.name))
        augment = None
        if recipe.augment:
            layers = [_layer(layer, n_classes, (seed, 2, i)) for i, layer in enumerate(recipe.augment)]
            augment = keras.Sequential([keras.Input(shape), *layers], name="augment")
    except ValueError as error:
        size = f"{recipe.preprocess.height}x{recipe.preprocess.width}"
        raise RecipeError(
            f"recipe {recipe.name!r} cannot be built for pictures of {size}: {str(error).splitlines()[0]}",
            hint="give a larger --image-size, or fewer layers in a copy of the recipe",
        ) from None
    pictures = keras.Input(shape, dtype="uint8")
    values = keras.ops.cast(pictures, "float32")
    trainer = keras.Model(pictures, network(augment(values) if augment else values))
    trainer.compile(optimizer=_optimizer(recipe), loss=_loss(recipe), metrics=[_accuracy(recipe)])
    trainer.optimizer.build(trainer.trainable_variables)
    return Networks(network, trainer, augment)


def probabilities(outputs: npt.NDArray[Any], output: Output) -> npt.NDArray[np.float32]:
    """What the network gave -> float32 (N, K) probabilities; one sigmoid unit becomes two columns [1-p, p].

    >>> probabilities(np.array([[0.25]]), "sigmoid").tolist()
    [[0.75, 0.25]]
    """
    values = np.asarray(outputs, np.float32)
    if values.shape[1] == 1:
        p = 1 / (1 + np.exp(-values)) if output == "logits" else values
        return np.concatenate([1 - p, p], axis=1)
    if output == "logits":
        e = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)
    return values


def summary(network: keras.Model) -> str:
    """Keras' table of the layers, as text."""
    lines: list[str] = []
    network.summary(line_length=100, print_fn=lambda text, **_: lines.append(text))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def save(path: Path, write: Callable[[Path], object]) -> None:
    """Let Keras write `path` whole or not at all. It insists on its suffixes, so the temporary name keeps them."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _layer(layer: Layer, n_classes: int, seed: Iterable[int]) -> Any:
    """The Keras layer, whatever is random in it drawn from `seed`."""
    kind = getattr(keras.layers, layer.kind)
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in layer.arguments.items()}
    if arguments.get("units") == "classes":
        arguments["units"] = n_classes
    known = inspect.signature(kind.__init__).parameters
    first, second = (int(s) for s in np.random.SeedSequence(list(seed)).generate_state(2) >> 1)
    for key, value in (
        ("seed", first),
        ("kernel_initializer", keras.initializers.GlorotUniform(seed=first)),
        ("depthwise_initializer", keras.initializers.GlorotUniform(seed=first)),
        ("pointwise_initializer", keras.initializers.GlorotUniform(seed=second)),
    ):
        if key in known:
            arguments[key] = value
    return kind(**arguments)


def _name(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name) or "network"


def _optimizer(recipe: Recipe) -> Any:
    rate = recipe.train.learning_rate
    config = {"learning_rate": rate} if rate else {}
    return keras.optimizers.get({"class_name": recipe.train.optimizer, "config": config})


def _loss(recipe: Recipe) -> Any:
    if recipe.binary:
        return keras.losses.BinaryCrossentropy(from_logits=recipe.train.from_logits)
    # Labels are indices here, so the categorical loss is its sparse form: the same figure.
    return keras.losses.SparseCategoricalCrossentropy(from_logits=recipe.train.from_logits)


def _accuracy(recipe: Recipe) -> Any:
    if recipe.binary:
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if recipe.train.from_logits else 0.5)
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
