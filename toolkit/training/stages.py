"""The stages of a training: one for a network of its own; with a backbone first the head, then the backbone as well.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.core.progress import Progress
from toolkit.training.data.batches import Batches, Rows
from toolkit.training.data.input_size import FEW_IMAGES
from toolkit.training.discriminant import best_scale, discriminant
from toolkit.training.fit import Fit, Stage, begun, fit
from toolkit.training.networks.keras_model import Networks, compile_head, save
from toolkit.training.recipes.recipe import Recipe
from toolkit.training.tuning import tuning
from toolkit.training.workspace import BEST_WEIGHTS

_FITS: Final = 0.96
"""Training accuracy of a head below which the frozen features serve badly and all of the backbone is tuned.

A head on features that tell the classes apart fits the training images almost wholly, and what it then lacks on others
is for want of images: tuning the upper blocks helps most. Where it cannot fit even those it is trained on, the features
lack what matters (cells, drawings), or there are so many images that all weights can be trained.
"""


def train_stages(
    networks: Networks,
    recipe: Recipe,
    batches: tuple[Batches, Batches],
    features: Callable[[], Rows],
    folder: Path,
    progress: Progress,
) -> Fit:
    """Train the networks as the recipe says, from the state in `folder`, if one is there.

    Args:
        batches: of the training and the validation subset.
        features: gives what `networks.features` makes of the rows of the batches; asked for a head stage alone.
    """
    train, validation = batches
    stage = Stage(
        model=networks.trainer,
        train=train,
        validation=validation,
        epochs=recipe.train.epochs,
        settings=recipe.train,
        network=networks.network,
        class_weights=balanced(train) if recipe.train.class_weights == "balanced" else None,
    )
    if recipe.backbone is None:
        return fit(stage, folder, progress)
    before = begun(folder)
    if before is not None and before[0] == "tuning":
        done = before[1]
        head = tuple(epoch for epoch in done.epochs if epoch.stage == "head")
        reached = replace(done, epochs=head, best=min(done.best, max(0, len(head) - 1)))
    else:
        reached = _train_head(networks, recipe, stage, features, folder, progress)
    depth = str(reached.notes["tuned"])
    if depth == "none":
        return reached
    made = tuning(networks, recipe, depth, batches)
    progress.line(f"tuning: {made.n_layers} layers of {recipe.backbone.name}")
    tuned = replace(
        stage,
        name="tuning",
        title="tuning",
        model=made.model,
        train=made.train,
        validation=made.validation,
        before=reached,
    )
    return fit(tuned, folder, progress)


_WORDS: Final = {"none": "nothing of the backbone is", "upper": "the upper blocks are", "all": "all blocks are"}


def _train_head(
    networks: Networks, recipe: Recipe, stage: Stage, features: Callable[[], Rows], folder: Path, progress: Progress
) -> Fit:
    """The head on frozen features, and how deep the backbone is to be tuned after it."""
    assert recipe.backbone is not None
    wanted, tune = recipe.backbone, recipe.backbone.tune
    if not wanted.head_epochs:
        return Fit(notes={"tuned": "upper" if tune == "auto" else tune})
    rows = features()
    few = len(stage.train.rows) <= FEW_IMAGES
    train, validation = replace(stage.train, source=rows), replace(stage.validation, source=rows)
    closed = few and _solve_head(networks, recipe, train, validation)
    if closed:  # nothing is left for gradient descent but to be measured
        wanted = replace(wanted, head_epochs=1, head_learning_rate=1e-9)
    head = Stage(
        name="head",
        title="training the head",
        model=compile_head(networks, replace(recipe, backbone=wanted), stage.train.n_steps),
        train=train,
        validation=validation,
        epochs=wanted.head_epochs,
        settings=replace(stage.settings, patience=0),
        network=None,
        class_weights=stage.class_weights,
    )
    reached = fit(head, folder, progress)
    save(folder / BEST_WEIGHTS, networks.network.save_weights)
    form = {"head": "closed form"} if closed else {}
    if tune != "auto":
        if closed:
            progress.line(f"{len(stage.train.rows):,} images for training are few: the head is solved in closed form")
        return replace(reached, notes={"tuned": tune, **form})
    depth = choose_depth(reached.epochs[-1].accuracy, len(stage.train.rows))
    why = f"training accuracy of the head: {reached.epochs[-1].accuracy:.3f}; all blocks where that is below {_FITS}"
    if few:
        why = f"{len(stage.train.rows):,} images for training are few: the head is solved in closed form"
    progress.line(f"{_WORDS[depth]} tuned ({why})")
    return replace(reached, notes={"tuned": depth, **form})


def choose_depth(accuracy: float, n_images: int) -> str:
    """How deep a backbone is tuned, by what a head on its features has reached on the training images.

    >>> choose_depth(0.97, 2500), choose_depth(0.91, 17_600), choose_depth(0.91, 100)
    ('upper', 'all', 'none')
    """
    if n_images <= FEW_IMAGES:
        return "none"
    return "upper" if accuracy >= _FITS else "all"


def _solve_head(networks: Networks, recipe: Recipe, train: Batches, validation: Batches) -> bool:
    """Give a head that is one dense layer the weights of a discriminant; whether it is one."""
    assert networks.head is not None
    weighted = [layer for layer in networks.head.layers if layer.weights]
    if recipe.binary or len(weighted) != 1 or len(train.source.shape) != 1 or len(weighted[0].get_weights()) != 2:
        return False
    layer = weighted[0]
    kernel, bias = discriminant(train.source.take(train.rows), train.labels, int(layer.units))
    held = slice(0, validation.n_images)
    logits = validation.source.take(validation.rows[held]) @ kernel + bias
    scale = best_scale(logits, validation.labels[held], recipe.train.label_smoothing)
    layer.set_weights([kernel * scale, bias * scale])
    return True


def balanced(train: Batches) -> dict[int, float] | None:
    """Weights by which every class counts the same in the loss; None where they have as many images each.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> balanced(SimpleNamespace(labels=np.array([0, 0, 0, 1])))
    {0: 0.6666666666666666, 1: 2.0}
    """
    counts = np.bincount(train.labels)
    if counts.min() == counts.max():
        return None
    return {label: float(len(train.labels) / (len(counts) * n)) for label, n in enumerate(counts)}
