"""Several recipes on the same data: the same images are held out, one table, the best bundle is kept."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import small
from support.command_line import run_cli

from toolkit.core.errors import InputError, MachineError, UsageError
from toolkit.model_files.bundle import load_bundle
from toolkit.training.options import TrainOptions
from toolkit.training.recipes.recipe import load_recipe
from toolkit.training.several import TRIALS_CSV, Trial, seconds_of, train_several, write_trials

# Keras 3.15 with numpy 2.4, whenever it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

POOLED = """schema = 1
title = "A pooled network for tests: it sees the mean colour"
source = "made for tests"
classes = 2
parameters = {parameters}
[input]
height = 16
width = 16
[[layers]]
class = "Rescaling"
scale = 0.00392156862745098
[[layers]]
class = "GlobalAveragePooling2D"
[[layers]]
class = "Dense"
units = {units}
activation = "relu"
[[layers]]
class = "Dense"
units = "classes"
[train]
optimizer = "adam"
learning_rate = {rate}
loss = "sparse_categorical_crossentropy"
from_logits = true
batch_size = 8
epochs = 6
validation = {validation}
seed = {seed}
"""


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Forty reddish and forty bluish images."""
    rng = np.random.default_rng(0)
    for label, colour in (("blue", (200, 90, 60)), ("red", (60, 90, 200))):
        folder = tmp_path / "colours" / label
        folder.mkdir(parents=True)
        for i in range(40):
            image = np.clip(rng.normal(colour, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{i}.png"), image)
    return tmp_path / "colours"


@pytest.fixture
def recipes(tmp_path: Path) -> list[Path]:
    """One that learns nothing, and one that learns."""
    found = []
    for name, rate, seed in (("dull", 1e-9, 1), ("bright", 0.05, 2)):
        units = 4 if name == "dull" else 8
        text = POOLED.format(
            units=units, rate=rate, seed=seed, validation=0.1 * seed + 0.1, parameters=3 * units + units + 2 * units + 2
        )
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        found.append(path)
    return found


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "-1m", "0s", "1d", "1e3s"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 20m"):
        seconds_of(text)


def test_the_best_is_kept_and_all_are_in_the_table(colours: Path, recipes: list[Path], tmp_path: Path) -> None:
    options = TrainOptions(out=tmp_path / "model", cache_dir=tmp_path / "cache")
    beside = sorted(path.name for path in tmp_path.parent.iterdir())
    odd = [replace(load_recipe(path), name=f"../../{path.stem}") for path in recipes]  # a name is no path
    found = train_several(colours, odd, options)
    best, worst = found.trials
    assert (best.recipe, worst.recipe, found.skipped) == ("../../bright", "../../dull", ())
    assert best.accuracy > worst.accuracy
    assert best.n_validation == worst.n_validation == 16
    assert best.interval[0] < best.accuracy <= best.interval[1]
    assert min(trial.images_per_s for trial in found.trials) > 0
    bundle = load_bundle(tmp_path / "model")
    assert (bundle.recipe_name, bundle.metrics["accuracy"]) == (best.recipe, best.accuracy)
    with (bundle.path / TRIALS_CSV).open(newline="") as file:
        assert [row["recipe"] for row in csv.DictReader(file)] == [best.recipe, worst.recipe]
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == beside
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("model")} == {"model"}
    with pytest.raises(InputError, match="trained bundle already"):
        train_several(colours, recipes, options)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("model")} == {"model"}


def test_the_command_prints_the_table_and_says_what_the_time_did_not_suffice_for(
    colours: Path, recipes: list[Path], tmp_path: Path
) -> None:
    command = ("train", colours, "--cache-dir", tmp_path / "cache", "--recipe", recipes[0], "--recipe", recipes[1])
    done = run_cli(*command, "--time-budget", "0.001s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["recipe", "dull"]
    assert "not trained, the time was up: bright" in done.stderr
    assert load_bundle(tmp_path / "model").recipe_name == "dull"


def test_what_does_not_go_together_is_refused(colours: Path, recipes: list[Path], tmp_path: Path) -> None:
    done = run_cli("train", colours, "--recipe", recipes[0], "--recipe", recipes[0], cwd=tmp_path)
    assert (done.returncode, "each once" in done.stderr) == (2, True)
    done = run_cli("train", colours, "--recipe", recipes[0], "--time-budget", "20m", cwd=tmp_path)
    assert (done.returncode, "several recipes" in done.stderr) == (2, True)
    assert not (tmp_path / "model.trials").exists()


def test_all_recipes_are_checked_before_the_first_is_trained(
    colours: Path, recipes: list[Path], tmp_path: Path
) -> None:
    options = TrainOptions(out=tmp_path / "model", cache_dir=tmp_path / "cache")
    third = tmp_path / "third.toml"
    third.write_text(recipes[0].read_text().replace('"classes"', "3").replace("parameters =", "# "))
    with pytest.raises(InputError, match="'third' tells 3 classes apart, the data have 2"):
        train_several(colours, [*recipes, third], options)
    assert not (tmp_path / "model.trials").exists()
    assert not (tmp_path / "cache").exists()


def test_what_is_finished_where_a_recipe_fails_is_named(
    colours: Path, recipes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, place = tmp_path / "model", tmp_path / "model.trials"

    def fails_the_second_time(_data: Path, options: TrainOptions, _progress: object) -> None:
        assert options.epochs == 3
        if place.exists() and any(place.iterdir()):
            raise MachineError("no memory", hint="buy some")
        small.bundle(options.out)

    monkeypatch.setattr("toolkit.training.several.train", fails_the_second_time)
    options = TrainOptions(out=out, cache_dir=tmp_path / "cache", epochs=3)
    with pytest.raises(MachineError) as caught:
        train_several(colours, recipes, options)
    assert caught.value.hint.startswith("buy some; recipe 'bright' failed, what is finished (dull) lies in ")
    with pytest.raises(InputError, match="unfinished trainings are here") as refused:
        train_several(colours, recipes, options)
    assert "--resume continues them" in refused.value.hint


def test_resume_of_what_is_finished_does_nothing_and_removes_what_a_kill_left(tmp_path: Path) -> None:
    """Killed once the best was in its place, before the others were removed."""
    images, out, place = tmp_path / "none", tmp_path / "model", tmp_path / "model.trials"
    small.bundle(out)
    trial = Trial(
        recipe="fashion",
        accuracy=0.9,
        interval=(0.8, 0.95),
        n_validation=16,
        n_parameters=7,
        size_bytes=99,
        images_per_s=12.5,
        seconds=3.0,
    )
    write_trials(out / TRIALS_CSV, [trial])
    small.bundle(place / "flowers")
    options = TrainOptions(out=out, resume=True)
    with pytest.raises(InputError, match="trained bundle already"):
        train_several(images, ["flowers", "malaria"], options)  # others
    assert place.is_dir()
    found = train_several(images, ["fashion", "flowers"], options)
    assert (found.trials, found.skipped) == ((trial,), ("flowers",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    (out / TRIALS_CSV).write_text("recipe\nfashion\n")
    with pytest.raises(InputError, match="trained bundle already"):
        train_several(images, ["fashion", "flowers"], options)
