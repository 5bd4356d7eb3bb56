"""What is trained when a backbone is tuned, and what it is fed. Imports TensorFlow.

On CPUs EfficientNet-Lite0 is taken apart: images are augmented in OpenCV, the layers that stay as they are run in
onnxruntime, and TensorFlow trains the rest. Elsewhere Keras' own model of augmentation and network is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from toolkit.training.data.augment import Augmentation, augmentation
from toolkit.training.data.batches import Batches, Held, Images, Rows
from toolkit.training.fit import predict
from toolkit.training.networks.backbone import tune_from
from toolkit.training.networks.frozen import Frozen, frozen_features, frozen_lower
from toolkit.training.networks.keras_model import Networks, compile_model
from toolkit.training.networks.upper import first_block, upper_network
from toolkit.training.recipes.recipe import Recipe

_HELD: Final = 256 << 20  # bytes of what the lower layers make of validation images, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """A compiled model with what it is fed.

    Attributes:
        model: it shares the weights of the network.
        train, validation: of the subsets.
        n_layers: layers of the backbone that are trained.
    """

    model: keras.Model
    train: Batches
    validation: Batches
    n_layers: int


def tuning(networks: Networks, recipe: Recipe, depth: str, batches: tuple[Batches, Batches]) -> Tuning:
    """Make ready to train a backbone as deep as `depth` says (see `backbone.tune_from`).

    Args:
        batches: of the training and the validation subset.
    """
    assert recipe.backbone is not None
    assert networks.backbone is not None
    train, validation = batches
    model = networks.trainer
    n_layers = tune_from(networks.backbone, recipe.backbone, depth)
    augment = augmentation(recipe.augment)
    if runs_apart(recipe) and n_layers and (augment or not recipe.augment):
        shape = recipe.preprocess.shape
        first = first_block(networks.backbone)
        lower = frozen_lower(networks.backbone, first) if first else None
        model = upper_network(networks.backbone, networks.above, first, lower.shape if lower else shape)
        if augment or lower:
            train = replace(train, view=_View(shape, augment, lower))
        if lower:
            validation = _held(replace(validation, view=_View(shape, None, lower)))
    compile_model(model, recipe, train.n_steps)
    return Tuning(model=model, train=train, validation=validation, n_layers=n_layers)


def features_apart(networks: Networks, recipe: Recipe) -> Frozen | None:
    """What computes the features outside of TensorFlow, where that is faster and gives the same."""
    backbone = recipe.backbone
    pooled = recipe.layers[0].kind == "GlobalAveragePooling2D" and not recipe.layers[0].arguments
    if not runs_apart(recipe) or backbone is None or backbone.cut or not pooled:
        return None
    assert networks.backbone is not None
    return frozen_features(networks.backbone)


def answers(networks: Networks, recipe: Recipe, batches: Batches, features: Rows | None) -> npt.NDArray[np.float32]:
    """What the finished network gives for every image, in order: float32 (N, units).

    Args:
        features: what `networks.features` makes of the rows of the batches, where that is known.
    """
    if features is not None:
        return predict(networks.head, replace(batches, source=features))
    apart = features_apart(networks, recipe)
    if apart is None:
        return predict(networks.network, batches)
    return predict(networks.head, replace(batches, view=_View(recipe.preprocess.shape, None, apart)))


def runs_apart(recipe: Recipe) -> bool:
    """Whether the backbone is one that is taken apart, and there is no GPU on which that would be slower."""
    lite0 = recipe.backbone is not None and recipe.backbone.name == "EfficientNetLite0"
    return lite0 and not tf.config.get_visible_devices("GPU")


class _View:
    """Images, augmented or not -> what the lower layers make of them, where there are any."""

    def __init__(self, shape: tuple[int, ...], augment: Augmentation | None, lower: Frozen | None) -> None:
        self.shape = lower.shape if lower else shape
        self.dtype = lower.dtype if lower else np.dtype(np.uint8)
        self._augment, self._lower = augment, lower

    def __call__(self, images: Images, seed: tuple[int, ...]) -> npt.NDArray[Any]:
        if self._augment:
            images = self._augment(images, np.random.default_rng(seed))
        return self._lower(images) if self._lower else images


def _held(batches: Batches) -> Batches:
    """Batches that are the same each epoch, computed now, where they fit into the memory set aside for them."""
    row_bytes = int(np.prod(batches.shape)) * batches.dtype.itemsize
    if batches.n_images * row_bytes > _HELD:
        return batches
    values = np.concatenate([batch for chunk, _ in batches.chunks(0) for batch in chunk])
    order = batches.order(0)
    labels = batches.labels[order]
    return replace(
        batches, source=Held(values), rows=np.arange(len(order)), labels=labels, steps=0, seed=None, view=None
    )
