"""Recipe -> Keras network. Imports TensorFlow."""

from __future__ import annotations

import gc
import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from toolkit.core.text import ascii_word, first_line
from toolkit.training.networks.backbone import build_backbone, tune_from
from toolkit.training.recipes.recipe import Layer, Output, Recipe, RecipeError
from toolkit.training.recipes.shape_check import check_classes

_POOLED: Final = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")


@dataclass(frozen=True, slots=True)
class Networks:
    """One network, as it is saved and as it is trained.

    Attributes:
        network: float32 (N, H, W, C), values 0..255 -> logits or probabilities; what is saved and exported.
        trainer: uint8 (N, H, W, C) -> augmentation -> `network`; what is trained. Without augmentation in the recipe
            it only casts.
        augment: the augmentation alone, None where the recipe has none.
        backbone: the first layers of `network`, None where the recipe has none.
        features: float32 (N, H, W, C) -> float32 (N, ...), what the layers above the backbone work on: its output,
            after a global pooling where that comes first.
        head: `features` -> what `network` gives; the layers above, which it shares with `network`.
        above: the recipe's layers, those that `network` has above the backbone.
    """

    network: keras.Model
    trainer: keras.Model
    augment: keras.Model | None
    backbone: keras.Model | None = None
    features: keras.Model | None = None
    head: keras.Model | None = None
    above: tuple[Any, ...] = ()


def build(recipe: Recipe, n_classes: int, *, seed: int, steps: int = 1) -> Networks:
    """Build the network of `recipe` for `n_classes` classes, compiled for training.

    The initial weights, dropout and augmentation come from `seed` alone; Keras' global generator is not touched.

    Args:
        steps: batches of an epoch, for a learning rate that falls.

    Raises:
        InputError: the network's output does not fit the number of classes.
        RecipeError: the layers do not fit together or the image is too small for them.
        MachineError: the backbone's weights are not to be had.
    """
    check_classes(recipe, n_classes)
    shape = recipe.preprocess.shape
    backbone = features = head = augment = None
    try:
        above = layers = [_layer(layer, n_classes, (seed, 1, i)) for i, layer in enumerate(recipe.layers)]
        if recipe.backbone:
            backbone = build_backbone(recipe.backbone, shape, seed=seed)
            pooled = int(recipe.layers[0].kind in _POOLED)
            features = keras.Model(backbone.input, _chain(layers[:pooled], backbone.output))
            given = keras.Input(features.output.shape[1:])
            head = keras.Model(given, _chain(layers[pooled:], given))
            network = keras.Model(backbone.input, _chain(layers[pooled:], features.output), name=_name(recipe.name))
        else:
            network = keras.Sequential([keras.Input(shape, name="pictures"), *layers], name=_name(recipe.name))
        if recipe.augment:
            layers = [_layer(layer, n_classes, (seed, 2, i)) for i, layer in enumerate(recipe.augment)]
            augment = keras.Sequential([keras.Input(shape), *layers], name="augment")
    except ValueError as error:
        size = f"{recipe.preprocess.height}x{recipe.preprocess.width}"
        raise RecipeError(
            f"recipe {recipe.name!r} cannot be built for images of {size}: {first_line(error)}",
            hint="give a larger --image-size, or fewer layers in a copy of the recipe",
        ) from None
    images = keras.Input(shape, dtype="uint8")
    values = keras.ops.cast(images, "float32")
    trainer = keras.Model(images, network(augment(values) if augment else values))
    networks = Networks(network, trainer, augment, backbone, features, head, tuple(above))
    if recipe.backbone and backbone:
        tune_from(backbone, recipe.backbone, "upper" if recipe.backbone.tune == "auto" else recipe.backbone.tune)
    compile_model(trainer, recipe, steps)
    return networks


def compile_head(networks: Networks, recipe: Recipe, steps: int) -> keras.Model:
    """The head of a network with a backbone, compiled to be trained on features; `steps` are those of an epoch."""
    assert networks.head is not None
    assert recipe.backbone is not None
    rate = _falling(recipe.backbone.head_learning_rate, recipe.backbone.head_epochs * steps)
    _compile(networks.head, recipe, keras.optimizers.Adam(rate))
    return networks.head


def compile_model(model: keras.Model, recipe: Recipe, steps: int) -> None:
    """Compile what is trained as the recipe's `[train]` says; `steps` are those of an epoch."""
    _compile(model, recipe, _optimizer(recipe, recipe.train.epochs * steps))


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
    """Let Keras write `path` whole or not at all. It insists on its suffixes, so the temporary name keeps them.

    Raises:
        OSError: the disk is full; it names `path`.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    before = sys.unraisablehook, sys.excepthook  # h5py prints an error, twice, for each object in its file
    sys.unraisablehook, sys.excepthook = (lambda _: None), (lambda *_: None)
    failed = 0
    try:
        try:
            write(temporary)
        except (OSError, RuntimeError) as error:
            failed = _errno(error)
            if not failed:
                raise
        if failed:
            gc.collect()  # of those objects, while they cannot be heard
            raise OSError(failed, os.strerror(failed), str(path))
        os.replace(temporary, path)
    finally:
        sys.unraisablehook, sys.excepthook = before
        temporary.unlink(missing_ok=True)


def _errno(error: OSError | RuntimeError) -> int:
    """The system's number of what went wrong, 0 where it has none; h5py writes it into its text.

    >>> _errno(RuntimeError("file write failed: time = now, errno = 28, error message = 'No space left on device'"))
    28
    """
    found = re.search(r"errno = (\d+)", str(error))
    return (error.errno or 0 if isinstance(error, OSError) else 0) or int(found[1] if found else 0)


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
    """TensorFlow's scopes have ASCII letters and digits alone, and begin with one of them."""
    cleaned = ascii_word(name)
    return cleaned if cleaned[:1].isalnum() else f"network{cleaned}"


def _chain(layers: list[Any], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _compile(model: keras.Model, recipe: Recipe, optimizer: Any) -> None:
    options: dict[str, Any] = {"jit_compile": False} if recipe.backbone else {}  # XLA's depthwise layers crawl on CPUs
    model.compile(optimizer=optimizer, loss=_loss(recipe), metrics=[_accuracy(recipe)], **options)
    model.optimizer.build(model.trainable_variables)


def _optimizer(recipe: Recipe, steps: int) -> Any:
    rate: Any = recipe.train.learning_rate
    if recipe.train.schedule == "cosine":
        rate = _falling(rate, steps)
    return keras.optimizers.get({"class_name": recipe.train.optimizer, "config": {"learning_rate": rate}})


def _falling(rate: float, steps: int) -> Any:
    return keras.optimizers.schedules.CosineDecay(rate, max(1, steps))


def _loss(recipe: Recipe) -> Any:
    smoothing, logits = recipe.train.label_smoothing, recipe.train.from_logits
    if recipe.binary:
        return keras.losses.BinaryCrossentropy(from_logits=logits, label_smoothing=smoothing)
    if smoothing:
        return _SmoothedCrossentropy(smoothing, from_logits=logits)
    # Labels are indices here, so the categorical loss is its sparse form: the same number.
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)


class _SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Keras' categorical loss with label smoothing, for labels that are indices."""

    def __init__(self, smoothing: float, *, from_logits: bool) -> None:
        super().__init__(name="smoothed_crossentropy")
        self._smoothing, self._from_logits = smoothing, from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        indices = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        return keras.losses.categorical_crossentropy(
            keras.ops.one_hot(indices, y_pred.shape[-1]),
            y_pred,
            from_logits=self._from_logits,
            label_smoothing=self._smoothing,
        )


def _accuracy(recipe: Recipe) -> Any:
    if recipe.binary:
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if recipe.train.from_logits else 0.5)
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def prediction_rate(path: Path, images_u8: npt.NDArray[np.uint8], *, rounds: int = 3) -> float:
    """Images a second that Keras predicts with the saved network at `path`, on ready batches; the best round.

    Afterwards Keras has forgotten all networks of this process, so that the next one is named as in a new process.

    Args:
        path: a `.keras` file.
        images_u8: (N, H, W, C), N >= 1.
        rounds: how often 64 images are predicted, after once to warm up.
    """
    network = keras.saving.load_model(path, compile=False)
    batch = np.resize(images_u8, (32, *images_u8.shape[1:])).astype(np.float32)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for _ in range(2):
            network.predict_on_batch(batch)
        seconds.append(time.perf_counter() - began)
    keras.backend.clear_session()
    return 2 * len(batch) / min(seconds[1:])
