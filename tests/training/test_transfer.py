"""Backbones: the network against its original, the stages of a training, and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import ROOT, run_cli

from toolkit.core.errors import InputError, MachineError, ModelError, UsageError
from toolkit.core.progress import SilentProgress
from toolkit.model_files import pretrained
from toolkit.model_files.bundle import load_bundle
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.input_size import adapted
from toolkit.training.options import TrainOptions, with_options
from toolkit.training.recipes.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from toolkit.training.recipes.recipe_schema import BACKBONES
from toolkit.training.recipes.shape_check import trace
from toolkit.training.state import read_state, write_state
from toolkit.training.train import train
from toolkit.training.workspace import BEST_WEIGHTS, partial_dir

# Keras 3.15 with numpy 2.4, whenever it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _installed() -> bool:
    try:
        return bool(pretrained.find_lite0())
    except MachineError:
        return False


needs_weights = pytest.mark.skipif(not _installed(), reason="the extra `pretrained` is not installed")


def _transfer(**changes: str) -> Recipe:
    """`transfer` with random weights, some lines changed."""
    text = load_recipe("transfer").text
    if "cut" in changes:
        changes["tune"] = changes.get("tune", '"auto"') + "\ncut = " + changes.pop("cut")
    for key, value in {"weights": '"none"', "height": "64", "width": "64", "head_epochs": "3", **changes}.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    return parse_recipe(text, source="changed", name="changed")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images a class of two classes that a random network can tell apart: bright and dark, and some noise."""
    import cv2

    folder, rng = tmp_path_factory.mktemp("few") / "data", np.random.default_rng(0)
    for name, level in (("bright", 170), ("dark", 20)):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            pixels = (level + rng.integers(0, 60, (48, 64, 3))).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{i}.png"), pixels)
    return folder


def _options(out: Path, recipe: Recipe, **changes: object) -> TrainOptions:
    options = TrainOptions(recipe=recipe, epochs=3, batch_size=4, out=out, cache_dir=out.parent / "cache")
    return replace(options, **changes)  # type: ignore[arg-type]


class _Lines(SilentProgress):
    """Keeps the lines, and stops the training at one of them."""

    def __init__(self, stop: str = "") -> None:
        self.lines: list[str] = []
        self._stop = stop

    def line(self, text: str) -> None:
        self.lines.append(text)
        if self._stop and text.startswith(self._stop):
            raise KeyboardInterrupt

    def start(self, task: str, total: int | None = None, unit: str = "files") -> None:  # noqa: ARG002
        self.lines.append(f"> {task}")
        self.line(f"start {task}")

    def status(self, text: str) -> None:
        if self._stop.startswith("status") and text.startswith(self._stop.removeprefix("status ")):
            raise KeyboardInterrupt


def _image(size: int) -> np.ndarray:
    """As tools/make_lite0_reference.py makes it."""
    rng = np.random.default_rng(size)
    squares = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)
    noise = rng.integers(0, 56, (size, size, 3), dtype=np.uint8)
    return np.asarray(np.kron(squares, np.ones((size // 8, size // 8, 1), np.uint8)) + noise)


@needs_weights
@pytest.mark.parametrize("size", [160, 224])
def test_lite0_gives_the_logits_of_its_original(size: int) -> None:
    from toolkit.training.networks.efficientnet_lite import assign_lite0, efficientnet_lite0

    tensors = pretrained.read_lite0()
    network = efficientnet_lite0((size, size, 3))
    assign_lite0(network, tensors)
    features = np.asarray(network(_image(size)[None].astype(np.float32), training=False)).mean(axis=(1, 2))
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    with np.load(ROOT / "tests" / "lite0" / "logits.npz") as expected:
        np.testing.assert_allclose(logits[0], expected[f"logits{size}"], atol=1e-4)


@pytest.mark.usefixtures("real_images")
@needs_weights
def test_daisies_are_named_daisy(flower_photos: Path) -> None:
    from toolkit.images.decode import decode
    from toolkit.images.spec import Preprocess
    from toolkit.training.networks.efficientnet_lite import assign_lite0, efficientnet_lite0

    files = sorted((flower_photos / "daisy").glob("*.jpg"))[::9]
    images = np.stack([decode(file.read_bytes(), Preprocess(height=224, width=224)) for file in files])
    tensors = pretrained.read_lite0()
    network = efficientnet_lite0((224, 224, 3))
    assign_lite0(network, tensors)
    features = np.concatenate([np.asarray(network(image[None].astype(np.float32))) for image in images])
    logits = features.mean(axis=(1, 2)) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    daisy = 985  # ImageNet's class
    assert (logits.argmax(axis=1) == daisy).mean() > 0.75
    assert (np.argsort(-logits, axis=1)[:, :5] == daisy).any(axis=1).mean() > 0.88


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_built_as_the_shape_check_says(name: str) -> None:
    from toolkit.training.networks import keras_model

    recipe = _transfer(name=f'"{name}"')
    networks = keras_model.build(recipe, 3, seed=0)
    steps = trace(recipe, 3)
    assert networks.backbone is not None
    assert networks.backbone.output_shape[1:] == steps[0].output
    assert networks.network.count_params() == sum(step.parameters for step in steps)
    trained = sum(bool(layer.trainable_weights) for layer in networks.backbone.layers)
    assert 0 < trained < sum(bool(layer.weights) for layer in networks.backbone.layers)
    assert networks.trainer.predict_on_batch(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 3)


def test_a_backbone_is_cut_and_tuned_where_the_recipe_says() -> None:
    from toolkit.training.networks import keras_model

    recipe = _transfer(tune='"block5"', cut='"block7"')
    networks = keras_model.build(recipe, 2, seed=0)
    assert networks.backbone is not None
    assert networks.backbone.output_shape[1:] == trace(recipe, 2)[0].output == (4, 4, 80)
    assert networks.network.count_params() == sum(step.parameters for step in trace(recipe, 2))
    trained = {layer.name.split("_")[0] for layer in networks.backbone.layers if layer.trainable_weights}
    assert trained == {"block5", "block6", "block7"}


@needs_weights
def test_batch_normalisation_of_a_trained_backbone_stays_as_it_is() -> None:
    from toolkit.training.networks import keras_model

    networks = keras_model.build(_transfer(weights='"imagenet"', tune='"all"'), 2, seed=0)
    before = {v.path: v.numpy() for v in networks.network.variables}
    networks.trainer.train_on_batch(np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)), np.array([0, 1, 0, 1]))
    changed = {v.path for v in networks.network.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert changed
    assert not any("_bn" in path for path in changed)
    assert any("stem" in path for path in changed)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"EfficientNetLite0"', '"EfficientNetLite1"', "did you mean 'EfficientNetLite0'"),
        ('tune = "auto"', 'tune = "blok5"', "did you mean 'block5'"),
        ('tune = "auto"', 'cut = "block16"', "expected one of block0"),
        ('tune = "auto"', 'tune = "block10"\ncut = "block3"', "above cut = 'block3'"),
        ('tune = "auto"\nhead_epochs = 20', 'tune = "none"\nhead_epochs = 0', "trains nothing"),
        ('weights = "imagenet"', 'weights = "a\\u0000b"', "without the character NUL"),
        ("head_learning_rate = 0.001", "head_learning_rate = 1e300", "1e-09 to 1e+06"),
        ("head_epochs", "head_epoch", "did you mean 'head_epochs'"),
        (
            '[[layers]]\nclass = "Dropout"',
            '[[layers]]\nclass = "Rescaling"\nscale = "1/255"\n[[layers]]\nclass = "Dropout"',
            "Rescaling beside a backbone",
        ),
        ("width = 160", 'width = 160\ncolour = "grey"', 'needs colour = "rgb"'),
        ('"cosine"', '"cosin"', "did you mean 'cosine'"),
        ("label_smoothing = 0.1", "label_smoothing = 2", "0 to 0.9"),
        ('"balanced"', '"equal"', "'none', 'balanced'"),
        ("adapt = true", "adapt = 1", "true or false"),
        ('name = "EfficientNetLite0"', 'name = "ConvNeXtTiny"\ncut = "x"', "only EfficientNetLite0 can be cut"),
    ],
)
def test_mistakes_of_a_recipe_are_named(old: str, new: str, expected: str) -> None:
    text = load_recipe("transfer").text
    assert old in text
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.replace(old, new, 1), source="mine", name="mine")
    assert expected in caught.value.message


def test_a_layer_that_a_backbone_has_not_is_named_before_anything_is_decoded(few: Path, tmp_path: Path) -> None:
    recipe = _transfer(name='"MobileNetV3Small"', tune='"nowhere"')
    with pytest.raises(RecipeError, match=r"recipe 'changed': \[backbone\]: .*has no such layer"):
        train(few, _options(tmp_path / "model", recipe))
    with pytest.raises(RecipeError, match=r"recipe 'changed': .*32"):
        train(few, _options(tmp_path / "model", recipe, image_size=(16, 16)))
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["EfficientNetLite0", "MobileNetV3Small"])
def test_wrong_weights_end_with_8_before_anything_is_decoded(few: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "wrong.h5").write_bytes(b"no weights")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(load_recipe("transfer").text.replace("EfficientNetLite0", name))
    for file in ("wrong.h5", "missing.h5"):
        given = ("--recipe", recipe, "--weights", file, "--cache-dir", "cache")
        run = run_cli("train", few, *given, cwd=tmp_path)
        assert run.returncode == 8, run.stderr
        assert file in run.stderr
        assert "--weights" in run.stderr
        assert "Traceback" not in run.stderr
    assert not (tmp_path / "cache").exists()


def test_weights_that_keras_cannot_fetch_end_with_8(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from toolkit.training.networks.backbone import build_backbone

    def offline(**_arguments: object) -> None:
        raise OSError("URL fetch failure: no route to host")

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", offline)
    recipe = _transfer(name='"MobileNetV3Small"', weights='"imagenet"')
    assert recipe.backbone is not None
    with pytest.raises(MachineError, match=r"MobileNetV3Small .* URL fetch failure") as caught:
        build_backbone(recipe.backbone, (64, 64, 3))
    assert caught.value.exit_code == 8
    assert "--weights" in caught.value.hint


def test_options_that_do_not_go_together_are_wrong_usage() -> None:
    for options, message in (
        (TrainOptions(effort="fast"), "expected quick, normal, best"),
        (TrainOptions(effort="best", recipe="flowers"), "--recipe is given"),
        (TrainOptions(recipe="flowers", weights=Path("w.h5")), r"has no \[backbone\]"),
    ):
        with pytest.raises(UsageError, match=message):
            with_options(options)
    assert with_options(TrainOptions()).name == "transfer"
    assert with_options(TrainOptions(effort="best")).name == "transfer-best"
    quick = with_options(TrainOptions(effort="quick", epochs=7))
    assert quick.backbone is not None
    assert quick.backbone.head_epochs == 7


@pytest.mark.parametrize(("side", "expected"), [(28, 64), (50, 96), (64, 128), (90, 192), (300, 224)])
def test_small_images_get_a_smaller_input(tmp_path: Path, side: int, expected: int) -> None:
    import cv2

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.full((side, side + 9, 3), 9, np.uint8))
        (tmp_path / name / "broken.png").write_bytes(b"")
    seen = _Lines()
    recipe = adapted(load_recipe("transfer"), find_dataset(tmp_path), seen)
    assert recipe.preprocess.shape == (expected, expected, 3)
    assert len(seen.lines) == 1
    assert adapted(load_recipe("flowers"), find_dataset(tmp_path), seen).preprocess.height == 180


def test_label_smoothing_is_that_of_keras() -> None:
    import keras

    from toolkit.training.networks.keras_model import _SmoothedCrossentropy

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(np.eye(4)[labels], logits)
    got = _SmoothedCrossentropy(0.1, from_logits=True)(labels, logits)
    np.testing.assert_allclose(float(got), float(expected), rtol=1e-6)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """No images are few: the head is trained by gradient descent."""
    monkeypatch.setattr("toolkit.training.stages.FEW_IMAGES", 0)


SMALL = {"tune": '"block2"', "cut": '"block3"'}  # four blocks, the upper two of them tuned


@pytest.fixture(scope="module")
def whole(few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole training of five images a class, and the fingerprint of its weights."""
    out = tmp_path_factory.mktemp("whole") / "model"
    seen = _Lines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.training.stages.FEW_IMAGES", 0)
        result = train(few, _options(out, _transfer(**SMALL)), seen)
    assert [epoch.stage for epoch in result.history] == ["head"] * 3 + ["tuning"] * 3
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3, 4, 5, 6]
    assert "> features" in seen.lines
    assert any(line.startswith("tuning: ") for line in seen.lines)
    return out, result.bundle.contract.fingerprint


def test_the_bundle_of_a_transfer_says_how_it_was_trained(whole: tuple[Path, str]) -> None:
    bundle = load_bundle(whole[0])
    assert bundle.training["tuned"] == "block2"
    assert bundle.training["learning_rate"] == 0.0003
    assert bundle.training["backbone"]["name"] == "EfficientNetLite0"
    assert "weights" not in bundle.training  # random ones have no licence
    assert (bundle.path / "curves.png").is_file()


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "stop", ["start features", "start training the head", "status epoch 3/3", "head:", "epoch 2/3"]
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    few: Path, whole: tuple[Path, str], tmp_path: Path, stop: str
) -> None:
    options = _options(tmp_path / "model", _transfer(**SMALL))
    with pytest.raises(KeyboardInterrupt):
        train(few, options, _Lines(stop))
    assert not options.out.exists()
    seen = _Lines()
    result = train(few, replace(options, resume=True), seen)
    assert result.bundle.contract.fingerprint == whole[1]
    assert len(result.history) == 6
    if stop == "epoch 2/3":
        assert "> training the head" not in seen.lines


def test_features_are_computed_once(few: Path, tmp_path: Path) -> None:
    options = _options(tmp_path / "model", _transfer(tune='"none"', cut='"block1"'))
    first, second = _Lines(), _Lines()
    one = train(few, options, first)
    other = train(few, replace(options, force=True), second)
    assert "> features" in first.lines
    assert "> features" not in second.lines
    assert any(line.startswith("features: those of an earlier run") for line in second.lines)
    assert one.bundle.contract.fingerprint == other.bundle.contract.fingerprint
    for damaged, said in (("*.f32", "> features"), ("*.u8", "> decoding")):
        (path,) = tmp_path.glob(f"cache/*/{damaged}")
        path.write_bytes(bytes(path.stat().st_size))
        third = _Lines()
        assert (
            train(few, replace(options, force=True), third).bundle.contract.fingerprint
            == one.bundle.contract.fingerprint
        )
        assert said in third.lines
    train(few, replace(options, force=True, seed=5), second)  # other random weights
    assert "> features" in second.lines
    assert len(list(tmp_path.glob("cache/*/*.f32"))) == 1


def test_a_disk_that_is_full_during_the_features_harms_nothing(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(tmp_path / "model", _transfer(tune='"none"', cut='"block1"'))

    def full(handle: int, n_bytes: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("toolkit.training.features.reserve", full)
        with pytest.raises(OSError, match="No space"):
            train(few, options)
    assert not list(tmp_path.glob("cache/*/*.f32*"))
    assert not list(tmp_path.glob("cache/*/.*"))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert train(few, replace(options, resume=True)).trained


def test_a_finished_training_whose_rate_has_fallen_is_not_gone_on_with(
    few: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    out = whole[0]
    options = _options(out, _transfer(**SMALL), resume=True)
    assert not train(few, options).trained
    with pytest.raises(InputError, match="fallen to zero") as caught:
        train(few, replace(options, epochs=9))
    assert "--epochs 9 --force" in caught.value.hint


def test_a_finished_training_at_a_constant_rate_is_gone_on_with(few: Path, tmp_path: Path) -> None:
    text = load_recipe("flowers").text.replace("= 180", "= 16")
    recipe = parse_recipe(text, source="small", name="small")
    straight = train(few, _options(tmp_path / "straight", recipe, epochs=4))
    options = _options(tmp_path / "longer", recipe, epochs=2)
    train(few, options)
    with pytest.raises(KeyboardInterrupt):
        train(few, replace(options, epochs=4, resume=True), _Lines("epoch 3/4"))
    assert load_bundle(options.out).training["epochs"] == 2
    with pytest.raises(InputError, match="other settings: epochs"):
        train(few, replace(options, epochs=5, resume=True))
    longer = train(few, replace(options, epochs=None, resume=True))  # to where it was to go
    assert [epoch.epoch for epoch in longer.history] == [1, 2, 3, 4]
    assert longer.bundle.contract.fingerprint == straight.bundle.contract.fingerprint
    assert longer.bundle.training["epochs"] == 4
    state = read_state(options.out)
    assert state is not None
    write_state(options.out, replace(state, variables=[value.reshape(1, -1) for value in state.variables]))
    with pytest.raises(ModelError, match=r"state\.npz: damaged.*another network"):
        train(few, replace(options, epochs=6, resume=True))
    partial = partial_dir(options.out)
    write_state(partial, state)
    (partial / BEST_WEIGHTS).write_bytes((partial / BEST_WEIGHTS).read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"best\.weights\.h5: damaged"):
        train(few, replace(options, epochs=6, resume=True))
    assert longer.bundle.training["learning_rate"] == 0.001


def test_a_part_of_the_data_is_said_to_be_one(few: Path, tmp_path: Path) -> None:
    recipe = _transfer(tune='"none"', cut='"block1"', epochs="3\nsteps_per_epoch = 1")
    seen = _Lines()
    train(few, _options(tmp_path / "model", recipe), seen)
    assert any(line.startswith("an epoch reads 4 of 8 images (steps_per_epoch = 1") for line in seen.lines)


def test_classes_with_few_images_weigh_as_much() -> None:
    from toolkit.training.data.batches import Batches
    from toolkit.training.stages import balanced

    labels = np.array([0] * 90 + [1] * 10)
    batches = Batches(source=None, rows=np.arange(100), labels=labels, batch_size=5)  # type: ignore[arg-type]
    weights = balanced(batches)
    assert weights is not None
    assert sum(weights[label] for label in labels) == pytest.approx(100)
    assert weights[1] == pytest.approx(9 * weights[0])
    assert balanced(replace(batches, labels=np.array([0, 1, 0, 1]))) is None


def test_one_image_a_class_makes_no_certainty() -> None:
    from toolkit.training.discriminant import best_scale, discriminant

    rng = np.random.default_rng(0)
    features, held = (rng.random((n, 1280)).astype(np.float32) for n in (3, 6))
    kernel, bias = discriminant(features, np.arange(3), 3)
    logits, truth = held @ kernel + bias, np.arange(6) % 3
    logits = (logits - logits.max(axis=1, keepdims=True)) * best_scale(logits, truth, 0.1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert -np.log(probabilities[np.arange(6), truth]).mean() < 1.2  # of a guess: 1.1
    assert discriminant(np.ones((2, 4), np.float32), np.array([0, 1]), 2)[0].max() < 2


def test_a_discriminant_is_that_of_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from toolkit.training.discriminant import best_scale, discriminant

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    features = (rng.normal(size=(60, 100)) + rng.normal(size=(3, 100))[labels]).astype(np.float32)
    kernel, bias = discriminant(features, labels, 3, shrinkage=0.4)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4).fit(features, labels)
    logits = features @ kernel + bias
    np.testing.assert_array_equal(logits.argmax(axis=1), theirs.predict(features))
    scale = best_scale(logits, labels, 0.1)
    assert 2**-10 < scale < 2**6
    assert best_scale(logits * 4, labels, 0.1) == scale / 4


def test_few_images_are_solved_in_closed_form(few: Path, tmp_path: Path) -> None:
    seen = _Lines()
    result = train(few, _options(tmp_path / "model", _transfer(cut='"block1"')), seen)
    assert [epoch.stage for epoch in result.history] == ["head"]
    assert result.accuracy == 1
    assert result.bundle.training["tuned"] == "none"
    assert any("closed form" in line for line in seen.lines)


@pytest.mark.slow
def test_a_transfer_is_exported_and_verified_in_every_format(whole: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(whole[0], copy)
    run = run_cli("export", copy, "--onnx", "--tflite", "--savedmodel", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (copy / "model.onnx").is_file()
    assert (copy / "model.tflite").is_file()


_TRAIN = """
import os, signal, sys
from pathlib import Path
from toolkit.core.progress import SilentProgress
from toolkit.training.recipes.recipe import load_recipe
from toolkit.training.options import TrainOptions
from toolkit.training.train import train
stop = sys.argv[4]
class Stop(SilentProgress):
    def line(self, text):
        if text.startswith(stop):
            os.kill(os.getpid(), signal.SIGKILL)
    def start(self, task, total=None, unit="files"):
        if task == stop:
            os.kill(os.getpid(), signal.SIGKILL)
data, out, cache = map(Path, sys.argv[1:4])
options = TrainOptions(recipe=load_recipe(sys.argv[5]), epochs=3, batch_size=4, out=out, cache_dir=cache, resume=True)
print(train(data, options, Stop()).bundle.contract.fingerprint)
"""


@pytest.mark.slow
def test_killed_in_each_stage_and_resumed_in_another_process(few: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "changed.toml"
    recipe.write_text(_transfer(**SMALL).text)

    def run(out: Path, cache: Path, stop: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _TRAIN, *map(str, (few, out, cache)), stop, str(recipe)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    whole = run(tmp_path / "whole", tmp_path / "cache", "never")
    assert whole.returncode == 0, whole.stderr[-2000:]
    out, cache = tmp_path / "out", tmp_path / "empty cache"
    for stop in ("features", "training the head", "head:", "epoch 2/"):  # one training, killed four times
        killed = run(out, cache, stop)
        assert killed.returncode == -signal.SIGKILL, stop + killed.stderr[-2000:]
        assert not out.exists()
    resumed = run(out, cache, "never")
    assert resumed.stdout == whole.stdout, resumed.stderr[-2000:]


@pytest.mark.slow
@needs_weights
def test_twenty_photos_a_class_are_enough(flower_photos: Path, tmp_path: Path) -> None:
    for folder in sorted(p for p in flower_photos.iterdir() if p.is_dir()):
        for subset, files in (("train", slice(0, 20)), ("validation", slice(20, 120))):
            (tmp_path / "data" / subset / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[files]:
                shutil.copy(file, tmp_path / "data" / subset / folder.name)
    result = train(tmp_path / "data", TrainOptions(out=tmp_path / "model", cache_dir=tmp_path / "cache"))
    assert result.accuracy >= 0.8


@pytest.mark.slow
@needs_weights
def test_flowers_are_told_apart(flower_photos: Path, tmp_path: Path) -> None:
    options = TrainOptions(effort="quick", out=tmp_path / "model", cache_dir=tmp_path / "cache")
    assert train(flower_photos, options).accuracy >= 0.895
