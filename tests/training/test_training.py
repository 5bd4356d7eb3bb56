"""Training: from folders to a bundle, on real images in small."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import ROOT, run_cli

from toolkit.core.errors import InputError, LockedError
from toolkit.core.progress import SilentProgress
from toolkit.images.decode import decode
from toolkit.images.spec import Preprocess
from toolkit.model_files.bundle import Bundle, load_bundle
from toolkit.splitting.plan import parse_ratio, subsets
from toolkit.training.data.batches import Batches, Rows
from toolkit.training.data.dataset import find_dataset, hold_out
from toolkit.training.data.decode_cache import decode_all
from toolkit.training.options import TrainOptions
from toolkit.training.recipes.recipe import EFFORTS, Recipe, available, documented, load_recipe, parse_recipe
from toolkit.training.recipes.recipe_schema import AUGMENTATIONS, LAYERS, OPTIMIZERS
from toolkit.training.train import train

# Keras 3.15 with numpy 2.4, whenever it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _few(source: Path, target: Path, n: int) -> Path:
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:n]:
            shutil.copy(file, target / folder.name / file.name)
    return target


@pytest.fixture(scope="module")
def flowers(flower_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty photos of each of five flowers, and a broken one."""
    folder = _few(flower_photos, tmp_path_factory.mktemp("few") / "flowers", 30)
    (folder / "roses" / "broken.jpg").write_bytes(b"<html></html>")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundle(flowers: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The flowers with augmentation, 32x32, two epochs."""
    out = tmp_path_factory.mktemp("out") / "model"
    return train(flowers, _options(out, cache)).bundle


def _options(out: Path, cache: Path) -> TrainOptions:
    return TrainOptions(recipe="flowers-augmented", image_size=(32, 32), epochs=2, out=out, cache_dir=cache)


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_is_told_with_the_path_of_the_weights(kind: type[Exception], tmp_path: Path) -> None:
    """As h5py tells it, which gives the number in its text alone."""
    from toolkit.training.networks.keras_model import save

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise kind("file write failed: errno = 28, error message = 'No space left on device', buf = 0x1")

    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path / "best.weights.h5", write)
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "best.weights.h5"))
    with pytest.raises(kind, match="something else"):
        save(tmp_path / "best.weights.h5", lambda _: (_ for _ in ()).throw(kind("something else")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", documented())
def test_every_recipe_builds_to_its_parameters_and_trains_a_batch(name: str, request: pytest.FixtureRequest) -> None:
    from toolkit.training.networks import keras_model as network

    recipe = load_recipe(name)
    assert network.build(recipe, recipe.classes, seed=0).network.count_params() == recipe.parameters
    small = replace(recipe, preprocess=replace(recipe.preprocess, height=64, width=64)) if name == "places" else recipe
    spec = small.preprocess
    photos: Path = request.getfixturevalue("flower_photos")
    files = sorted(photos.glob("*/*.jpg"))[::700][:4]
    images = np.stack([decode(file.read_bytes(), spec) for file in files])
    networks = network.build(small, small.classes, seed=0)
    before = [w.copy() for w in networks.network.get_weights()]
    loss = networks.trainer.train_on_batch(images, np.arange(len(files)) % small.classes)[0]
    assert np.isfinite(loss)
    after = networks.network.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    kinds = {layer.__class__.__name__ for layer in networks.network.layers}
    assert not kinds & set(AUGMENTATIONS)


def test_there_are_seven_documented_recipes_and_three_of_transfer() -> None:
    loaded = {name: load_recipe(name) for name in available()}
    assert sum(recipe.backbone is None for recipe in loaded.values()) == 7
    assert [name for name, recipe in loaded.items() if recipe.backbone] == sorted(EFFORTS.values())


def test_a_recipe_without_a_rate_has_that_of_keras() -> None:
    import keras

    for name, rate in OPTIMIZERS.items():
        assert np.float32(keras.optimizers.get(name).learning_rate.numpy()) == np.float32(rate), name


def test_the_allowed_layers_and_arguments_are_those_of_keras() -> None:
    import inspect

    import keras

    for kind, arguments in (LAYERS | AUGMENTATIONS).items():  # type: ignore[operator]
        known = set(inspect.signature(getattr(keras.layers, kind).__init__).parameters)
        assert set(arguments.checks) - known <= ({"name", "use_bias"} if "kwargs" in known else set()), kind


def test_every_augmentation_changes_a_real_image_and_never_its_shape(flower_photos: Path) -> None:
    from toolkit.training.networks import keras_model as network

    text = load_recipe("flowers").text.replace("= 180", "= 32")
    numbers = {"RandomTranslation": "height_factor = 0.2\nwidth_factor = 0.2", "RandomZoom": "height_factor = 0.3"}
    numbers |= {
        "RandomFlip": 'mode = "horizontal"',
        "RandomShear": "x_factor = 0.4",
        "RandomPosterization": "factor = 2",
    }
    numbers |= {"RandomErasing": "factor = 1.0", "RandomGrayscale": "factor = 1.0"}
    picture = decode(sorted(flower_photos.glob("roses/*.jpg"))[0].read_bytes(), Preprocess(height=32, width=32))
    for kind in AUGMENTATIONS:
        augment = f'[[augment]]\nclass = "{kind}"\n{numbers.get(kind, "factor = 0.5")}\n\n'
        recipe = parse_recipe(text.replace("[[layers]]", f"{augment}[[layers]]", 1), source=kind, name=kind)
        layers = network.build(recipe, 5, seed=1).augment
        assert layers is not None
        images = np.repeat(picture[None], 8, axis=0).astype(np.float32)
        augmented = np.asarray(layers(images, training=True))
        assert augmented.shape == images.shape, kind
        assert not np.array_equal(augmented, images), kind
        assert -1 <= augmented.min() <= augmented.max() <= 256, kind


def test_the_bundle_is_complete(bundle: Bundle) -> None:
    names = {p.name for p in bundle.path.iterdir()}
    pictures = {"curves.png", "samples.png", "augmented.png", "predictions.png"}
    tables = {"history.csv", "data.csv", "report.csv", "confusion.csv", "summary.txt", "recipe.toml", "check.npz"}
    assert names == pictures | tables | {
        "model.keras",
        "bundle.json",
        "best.weights.h5",
        "last.weights.h5",
        "state.npz",
    }
    assert load_bundle(bundle.path) == bundle
    assert bundle.contract.labels == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    with (bundle.path / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    left_out = [row for row in bundle.rows() if row.subset == "left_out"]
    assert [(row.path, "HTML" in row.reason) for row in left_out] == [("roses/broken.jpg", True)]


def test_the_network_takes_raw_values_has_no_augmentation_and_gives_what_check_says(bundle: Bundle) -> None:
    import keras

    from toolkit.training.networks.keras_model import probabilities

    network = keras.saving.load_model(bundle.keras_path)
    assert not {layer.__class__.__name__ for layer in network.layers} & set(AUGMENTATIONS)
    images, expected = bundle.check()
    got = probabilities(network(images.astype(np.float32), training=False).numpy(), "logits")
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
    sample = bundle.samples("validation")[0]
    assert any(np.array_equal(decode(sample.path.read_bytes(), bundle.contract.preprocess), image) for image in images)


def test_the_held_out_part_is_the_one_of_split(bundle: Bundle) -> None:
    import hashlib

    for label in bundle.contract.labels:
        rows = [row for row in bundle.rows() if row.label == label and row.subset != "left_out"]
        root = Path(bundle.data["root"])
        digests = [hashlib.sha256((root / row.path).read_bytes()).hexdigest() for row in rows]
        assert [row.subset for row in rows] == subsets(digests, parse_ratio("0.8"), seed=123)


def test_an_existing_bundle_is_replaced_with_force_only(bundle: Bundle, flowers: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="trained bundle already") as caught:
        train(flowers, _options(bundle.path, cache))
    assert "--force" in caught.value.hint
    other = bundle.path.with_name("photos")
    other.mkdir(exist_ok=True)
    (other / "holiday.jpg").touch()
    with pytest.raises(InputError, match="is not a bundle"):
        train(flowers, replace(_options(other, cache), force=True))


def test_resume_of_what_is_finished_does_nothing(bundle: Bundle, flowers: Path, cache: Path) -> None:
    options = replace(_options(bundle.path, cache), resume=True)
    before = {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()}
    result = train(flowers, options)
    assert not result.trained
    assert result.bundle == bundle
    assert [row.epoch for row in result.history] == [1, 2]
    for changed, name in (({"epochs": 1}, "epochs"), ({"seed": 5}, "seed"), ({"image_size": (40, 32)}, "image_size")):
        with pytest.raises(InputError, match=f"is finished, and was trained with other settings: .*{name}") as caught:
            train(flowers, replace(options, **changed))
        assert "--force" in caught.value.hint
    with pytest.raises(InputError, match="other settings: recipe_sha256"):
        train(flowers, replace(options, recipe=_mine()))
    assert {path.name: path.stat().st_mtime_ns for path in bundle.path.iterdir()} == before


def test_cron_runs_resume_again_and_again(bundle: Bundle, flowers: Path, cache: Path) -> None:
    given = ["--recipe", "flowers-augmented", "--image-size", "32x32", "--epochs", "2", "--resume"]
    run = run_cli("train", flowers, *given, "--out", bundle.path, "--cache-dir", cache, cwd=bundle.path.parent)
    assert run.returncode == 0, run.stderr
    assert "finished already" in run.stderr
    assert "--force trains again from the start" in run.stderr


def test_the_old_bundle_stays_until_the_new_one_is_finished(
    bundle: Bundle, flowers: Path, cache: Path, tmp_path: Path
) -> None:
    class Stop(SilentProgress):
        def line(self, text: str) -> None:
            if text.startswith("epoch 1/"):
                raise KeyboardInterrupt

    out = tmp_path / "model"
    shutil.copytree(bundle.path, out)
    options = replace(_options(out, cache), seed=9, force=True)
    with pytest.raises(KeyboardInterrupt):
        train(flowers, options, Stop())
    assert load_bundle(out).contract == bundle.contract
    with pytest.raises(InputError, match="trained bundle already"):
        train(flowers, replace(options, force=False, resume=True))
    result = train(flowers, replace(options, resume=True))
    assert [row.epoch for row in result.history] == [1, 2]
    assert result.bundle.contract.fingerprint != bundle.contract.fingerprint
    assert load_bundle(out) == result.bundle
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_two_trainings_never_share_an_output(flowers: Path, cache: Path, tmp_path: Path) -> None:
    from toolkit.core.locking import lock

    with lock(tmp_path / "model"), pytest.raises(LockedError):
        train(flowers, _options(tmp_path / "model", cache))


_TRAIN = """
import os, signal, sys
from pathlib import Path
from toolkit.core.progress import SilentProgress
from toolkit.training.options import TrainOptions
from toolkit.training.train import train
class Stop(SilentProgress):
    def line(self, text):
        if text.startswith(f"epoch {sys.argv[5]}/"):
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits it ignored
data, out, cache = map(Path, sys.argv[1:4])
options = TrainOptions(recipe="flowers-augmented", image_size=(32, 32), epochs=4, out=out, cache_dir=cache, resume=True)
print(train(data, options, Stop()).bundle.contract.fingerprint)
"""


def _train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _TRAIN, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(flowers: Path, cache: Path, tmp_path: Path) -> None:
    whole = _train(flowers, tmp_path / "whole", cache, "", "never")
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "stopped"
    for epoch, name in enumerate(("SIGKILL", "SIGINT", "SIGTERM"), 1):  # one training, stopped three times
        stopped = _train(flowers, out, cache, name, str(epoch))
        assert stopped.returncode != 0
        assert not out.exists()
    resumed = _train(flowers, out, cache, "", "never")
    assert resumed.stdout == whole.stdout, resumed.stderr


@pytest.mark.slow
def test_mirrored_on_two_logical_devices(flowers: Path, cache: Path, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from contextlib import contextmanager
from toolkit.training import fit as fitting
from toolkit.training.options import TrainOptions
from toolkit.training.train import train
devices = fitting.devices
fitting.devices = lambda gpus, progress: devices(gpus, progress, names=("CPU:0", "CPU:1"))
data, out, cache = map(Path, sys.argv[1:4])
options = TrainOptions(recipe="flowers", image_size=(32, 32), epochs=2, out=out, cache_dir=cache)
result = train(data, options)
print(len(result.history), tf.distribute.has_strategy())
"""
    command = [sys.executable, "-c", code, str(flowers), str(tmp_path / "model"), str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split() == ["2", "False"]


def test_more_gpus_than_there_are_is_refused(flowers: Path, tmp_path: Path, cache: Path) -> None:
    run = run_cli(
        "train",
        flowers,
        "--recipe",
        "flowers",
        "--image-size",
        "32x32",
        "--gpus",
        "9",
        "--cache-dir",
        cache,
        cwd=tmp_path,
    )
    assert run.returncode == 8
    assert "--gpus 9" in run.stderr


def test_a_class_missing_on_one_side_is_named(tmp_path: Path, flowers: Path) -> None:
    for side, names in (("train", ("daisy", "roses", "tulips")), ("val", ("daisy", "roses"))):
        for name in names:
            (tmp_path / side / name).mkdir(parents=True)
            shutil.copy(next((flowers / name).glob("*.jpg")), tmp_path / side / name)
    with pytest.raises(InputError, match="'tulips' is in train, but not in val"):
        find_dataset(tmp_path)
    shutil.rmtree(tmp_path / "train" / "tulips")
    found = find_dataset(tmp_path)
    assert found.split
    assert {file.subset for file in found.samples} == {"train", "validation"}
    assert find_dataset(tmp_path, ("roses", "daisy")).labels == ("roses", "daisy")
    with pytest.raises(InputError, match="missing: lilies; unknown: daisy"):
        find_dataset(tmp_path, ("roses", "lilies"))


def test_images_are_decoded_once_and_again_when_they_change(flower_photos: Path, tmp_path: Path) -> None:
    data, cache = _few(flower_photos, tmp_path / "data", 5), tmp_path / "cache"
    spec = Preprocess(height=20, width=24)
    dataset = find_dataset(data)
    first = decode_all(dataset, spec, cache)
    assert not first.reused
    rows = Rows(first.path, spec.shape).take(np.arange(len(dataset.samples)))
    for row, file in zip(rows, dataset.samples, strict=True):
        assert np.array_equal(row, decode((data / file.path).read_bytes(), spec))
    assert decode_all(find_dataset(data), spec, cache).reused
    (data / "roses" / "new.jpg").write_bytes(next((data / "tulips").iterdir()).read_bytes())
    assert not decode_all(find_dataset(data), spec, cache).reused
    assert len(list(first.path.parent.glob("*.u8"))) == 1, "what is out of date is cleared away"
    pixels = next(first.path.parent.glob("*.u8"))
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert not decode_all(find_dataset(data), spec, cache).reused


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(flower_photos: Path, tmp_path: Path) -> None:
    dataset = find_dataset(_few(flower_photos, tmp_path / "data", 9))
    pictures = Rows(decode_all(dataset, Preprocess(height=8, width=8), tmp_path / "cache").path, (8, 8, 3))
    labels = np.array([file.label for file in dataset.samples], np.int64)
    batches = Batches(source=pictures, rows=np.arange(45), labels=labels, batch_size=10, seed=3)
    orders = [batches.order(epoch) for epoch in (0, 1)]
    assert not np.array_equal(orders[0], orders[1])
    assert all(sorted(order) == list(range(45)) for order in orders)
    images = [image for chunk, _ in batches.chunks(0) for batch in chunk for image in batch]
    assert np.array_equal(np.stack(images), pictures.take(orders[0]))
    assert [len(batch) for chunk, _ in batches.chunks(0) for batch in chunk] == [10, 10, 10, 10, 5]
    assert batches.n_steps == 5
    assert replace(batches, steps=2).n_images == 20
    assert replace(batches, steps=200).n_images == 45


def _mine() -> Recipe:
    text = load_recipe("flowers-augmented").text
    for old, new in (("= 180", "= 32"), ('class = "RandomZoom"\nheight_factor', 'class = "RandomBrightness"\nfactor')):
        assert old in text
        text = text.replace(old, new)
    return parse_recipe(text, source="mine", name="flowers-augmented")


class _Seen(SilentProgress):
    def __init__(self) -> None:
        self.total = self.done = 0
        self.texts: list[str] = []

    def start(self, task: str, total: int | None = None, unit: str = "files") -> None:
        if task == "training":
            assert unit == "images"
            self.total, self.done = total or 0, 0

    def advance(self, n: int = 1) -> None:
        self.done += n

    def status(self, text: str) -> None:
        self.texts.append(text)


def test_a_recipe_of_ones_own_trains_and_tells_how_far_it_is(flowers: Path, cache: Path, tmp_path: Path) -> None:
    recipe, seen = _mine(), _Seen()
    kept_best = replace(recipe, train=replace(recipe.train, keep="best", patience=1, epochs=3))
    result = train(flowers, TrainOptions(recipe=kept_best, out=tmp_path / "model", cache_dir=cache), seen)
    best = min(result.history, key=lambda row: row.val_loss)
    assert result.kept_epoch == best.epoch
    n = sum(row.subset == "train" for row in result.bundle.rows())
    assert (seen.total, seen.done) == (3 * n, len(result.history) * n)
    assert re.fullmatch(r"epoch 1/3  step \d+/4  loss \d+\.\d{4}  accuracy \d\.\d{4}", seen.texts[0])
    figures = r"val_loss \d+\.\d{4}  val_accuracy \d\.\d{4}"
    assert re.fullmatch(f"epoch 2/3  validation  {figures}", next(t for t in seen.texts if "2/3  valid" in t))


def test_copies_and_a_image_under_two_labels_are_left_out_of_plain_folders(flowers: Path, tmp_path: Path) -> None:
    data = _few(flowers, tmp_path / "data", 6)
    rose, tulip = (next((data / name).iterdir()) for name in ("roses", "tulips"))
    copy = rose.with_name(f"{rose.stem} (1).jpg")
    shutil.copy(rose, copy)
    shutil.copy(tulip, data / "daisy" / "zz.jpg")
    dataset = find_dataset(data)
    decoded = decode_all(dataset, Preprocess(height=8, width=8), tmp_path / "cache")
    parts = {s.path: (s.subset, s.reason) for s in hold_out(dataset, decoded.samples, 0.2, 0)}
    assert parts[f"roses/{copy.name}"] == ("", f"a copy of roses/{rose.name}")
    for path in ("daisy/zz.jpg", f"tulips/{tulip.name}"):
        assert parts[path][0] == ""
        assert "under another label" in parts[path][1]
    assert sum(subset == "train" for subset, _ in parts.values()) == 4 + 4 + 4 + 4 + 4


@pytest.mark.parametrize("old_is_there", [False, True])
def test_a_bundle_that_was_finished_but_not_yet_in_place_is_kept(tmp_path: Path, old_is_there: bool) -> None:
    from toolkit.training.workspace import partial_dir, recover

    out = tmp_path / "model"
    for folder, text in ((partial_dir(out), "new"), (out, "old")) if old_is_there else ((partial_dir(out), "new"),):
        folder.mkdir()
        (folder / "bundle.json").write_text(text)
    recover(out)
    assert (out / "bundle.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
