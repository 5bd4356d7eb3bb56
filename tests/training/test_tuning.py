"""Tuning a backbone on CPUs: augmentation in OpenCV, frozen layers in onnxruntime, the rest with folded weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.core.progress import SilentProgress
from toolkit.training.data.augment import augmentation
from toolkit.training.data.batches import Batches, Held
from toolkit.training.data.dataset import LabelledSample
from toolkit.training.data.subsets import for_so_many
from toolkit.training.recipes.recipe import Layer, Recipe, load_recipe, parse_recipe


def _layer(kind: str, **arguments: Any) -> Layer:
    return Layer(kind, arguments)


def _smooth(height: int = 40, width: int = 60, channels: int = 3) -> np.ndarray:
    """An image that is not symmetric, and whose neighbouring pixels hardly differ: uint8 (1, H, W, C)."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [120 + 100 * np.sin(x / (9 + c) + y / 17) * np.cos(y / (11 + c)) for c in range(channels)]
    return np.stack(planes, axis=-1)[None].round().astype(np.uint8)


@pytest.mark.parametrize(
    "layers",
    [
        [_layer("RandomRotation", factor=[0.05, 0.05])],
        [_layer("RandomRotation", factor=[-0.1, -0.1], fill_mode="nearest")],
        [_layer("RandomZoom", height_factor=[0.2, 0.2])],
        [_layer("RandomZoom", height_factor=[-0.2, -0.2], width_factor=[0.1, 0.1], fill_mode="constant")],
        [_layer("RandomTranslation", height_factor=[0.1, 0.1], width_factor=[-0.2, -0.2])],
        [_layer("RandomTranslation", height_factor=[0.1, 0.1], width_factor=[0.2, 0.2], fill_mode="constant")],
        [
            _layer("RandomRotation", factor=[0.03, 0.03]),
            _layer("RandomZoom", height_factor=[-0.2, -0.2]),
            _layer("RandomTranslation", height_factor=[0.05, 0.05], width_factor=[-0.02, -0.02]),
        ],
        [_layer("RandomBrightness", factor=[0.1, 0.1])],
    ],
)
def test_augmentation_does_what_keras_does(layers: list[Layer]) -> None:
    import keras

    images = _smooth()
    augment = augmentation(layers)
    assert augment is not None
    found = augment(images, np.random.default_rng(0)).astype(float)
    expected = images.astype(np.float32)
    for layer in layers:
        expected = np.asarray(getattr(keras.layers, layer.kind)(**layer.arguments)(expected, training=True))
    assert np.abs(found - images).mean() > 8  # something is done
    inner = np.s_[:, 10:-10, 14:-14]  # several resamplings reflect a border more than once
    where = inner if len(layers) > 1 else np.s_[:]
    assert np.abs(found - expected)[where].mean() < 1.5


def test_flips_and_contrast() -> None:
    images = np.repeat(_smooth(), 200, axis=0)
    flip = augmentation([_layer("RandomFlip", mode="horizontal")])
    assert flip is not None
    flipped = flip(images, np.random.default_rng(0))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((flipped == images).all(axis=(1, 2, 3)) | mirrored).all()
    assert 70 < mirrored.sum() < 130
    contrast = augmentation([_layer("RandomContrast", factor=0.2)])
    assert contrast is not None
    changed = contrast(images, np.random.default_rng(0)).astype(float)
    ratio = changed[..., 0].std(axis=(1, 2)) / images[0, ..., 0].std()
    assert ratio.min() < 0.83
    assert ratio.max() > 1.17
    assert 0.78 < ratio.min() < ratio.max() < 1.22
    assert np.abs(changed.mean(axis=(1, 2)) - images[0].mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [_layer("RandomHue", factor=0.1)],
        [_layer("RandomRotation", factor=0.1, fill_mode="wrap")],
        [_layer("RandomContrast", factor=0.1), _layer("RandomFlip")],
        [
            _layer("RandomRotation", factor=0.1, fill_mode="nearest"),
            _layer("RandomZoom", height_factor=0.1),
        ],
    ],
)
def test_what_opencv_would_do_otherwise_is_left_to_keras(layers: list[Layer]) -> None:
    assert augmentation(layers) is None


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 4),
)
def test_augmentation_keeps_shapes_and_depends_on_its_seed_alone(
    height: int, width: int, channels: int, seed: int, n: int
) -> None:
    augment = augmentation(load_recipe("transfer").augment)
    assert augment is not None
    images = np.random.default_rng(1).integers(0, 255, (n, height, width, channels), np.uint8)
    before = images.copy()
    found = augment(images, np.random.default_rng(seed))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert np.array_equal(images, before)
    assert np.array_equal(found, augment(images, np.random.default_rng(seed)))


def _recipe(**changes: str) -> Recipe:
    text = load_recipe("transfer").text
    for key, value in {"weights": '"none"', "height": "64", "width": "64", **changes}.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    return parse_recipe(text, source="changed", name="changed")


def _batches(recipe: Recipe, n: int = 8) -> Batches:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (n, *recipe.preprocess.shape), np.uint8)
    return Batches(source=Held(images), rows=np.arange(n), labels=np.arange(n) % 2, batch_size=4, seed=0)


@pytest.mark.parametrize(("depth", "cut"), [("all", "block3"), ("block2", "block3"), ("head", "")])
def test_the_upper_network_is_trained_as_the_whole_one(depth: str, cut: str) -> None:
    """One step of either, from the same weights, gives the same loss and the same weights."""
    from toolkit.training.networks import keras_model
    from toolkit.training.networks.backbone import tune_from
    from toolkit.training.tuning import tuning

    recipe = replace(_recipe(**({"tune": f'"auto"\ncut = "{cut}"'} if cut else {})), augment=())
    recipe = replace(recipe, layers=tuple(layer for layer in recipe.layers if layer.kind != "Dropout"))
    losses, weights = [], []
    for apart in (True, False):
        networks = keras_model.build(recipe, 2, seed=0, steps=2)
        assert networks.backbone is not None
        rng = np.random.default_rng(3)
        for layer in networks.backbone.layers:  # statistics that are no mere identity
            if layer.name.endswith("_bn"):
                layer.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
        batches = _batches(recipe)
        assert recipe.backbone is not None
        backbone = replace(recipe.backbone, weights="imagenet")  # batch normalisation stays as it is
        if apart:
            made = tuning(networks, replace(recipe, backbone=backbone), depth, (batches, batches))
            assert made.model is not networks.trainer
            ((images, labels),) = made.train.chunks(0)
            model = made.model
        else:
            tune_from(networks.backbone, backbone, depth)
            keras_model.compile_model(networks.trainer, replace(recipe, backbone=backbone), 2)
            ((images, labels),) = batches.chunks(0)
            model = networks.trainer
        losses.append(float(model.train_on_batch(images[0], labels[0])[0]))
        weights.append(networks.network.get_weights())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    changed = keras_model.build(recipe, 2, seed=0, steps=2).network.get_weights()
    assert any(not np.array_equal(one, before) for one, before in zip(weights[0], changed, strict=True))
    for one, other in zip(*weights, strict=True):
        # Adam's first step is the learning rate, whatever the gradient; where that is nearly zero its sign is chance.
        assert np.mean(np.abs(one - other) > 1e-4) < 0.02


def test_validation_images_pass_the_lower_layers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.training import tuning as module
    from toolkit.training.networks import keras_model

    recipe = _recipe(tune='"block2"\ncut = "block3"')
    networks = keras_model.build(recipe, 2, seed=0)
    batches = replace(_batches(recipe), seed=None)
    held = module.tuning(networks, recipe, "block2", (batches, batches)).validation
    assert held.view is None
    assert held.source.shape == (16, 16, 24)
    monkeypatch.setattr(module, "_HELD", 0)  # too many for the memory: each epoch anew
    passed = module.tuning(networks, recipe, "block2", (batches, batches)).validation
    assert passed.view is not None
    one, other = (np.concatenate([images for images, _ in some.chunks(0)]) for some in (held, passed))
    assert np.array_equal(one, other)


def test_features_apart_are_those_of_keras() -> None:
    from toolkit.training.features import KerasExtractor
    from toolkit.training.networks import keras_model
    from toolkit.training.tuning import features_apart

    recipe = _recipe()
    networks = keras_model.build(recipe, 2, seed=0)
    apart = features_apart(networks, recipe)
    assert apart is not None
    assert apart.shape == (1280,)
    images = _batches(recipe).source.take(np.arange(8))
    np.testing.assert_allclose(apart(images), KerasExtractor(networks.features)(images), atol=1e-4)
    other = keras_model.build(recipe, 2, seed=1)
    assert features_apart(other, recipe).key != apart.key  # type: ignore[union-attr]
    cut = _recipe(tune='"auto"\ncut = "block3"')
    assert features_apart(keras_model.build(cut, 2, seed=0), cut) is None


class _Lines(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("n", "change", "expected"),
    [
        (10_000, {}, 5),
        (17_637, {}, 3),
        (60_000, {}, 2),
        (200_000, {}, 2),
        (60_000, {"epochs": True}, 5),
    ],
)
def test_many_images_are_seen_fewer_times(n: int, change: dict[str, bool], expected: int) -> None:
    one = LabelledSample(path="a.jpg", size=1, mtime_ns=0, label=0, subset="train")
    seen = _Lines()
    found = for_so_many(load_recipe("transfer"), [one] * n, seen, **{"batch_size": False, "epochs": False, **change})
    assert found.train.epochs == expected
    assert bool(seen.lines) == (expected < 5)
    assert all("--epochs N for more" in line for line in seen.lines)
