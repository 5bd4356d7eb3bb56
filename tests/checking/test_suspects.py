"""Suspected labels: planted swaps are found among images that can be told apart, and nothing is said of clean ones."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.command_line import Cli, run_cli
from support.onnx_networks import contract, write_conv_network
from support.result_files import write_image

from toolkit.core.errors import InputError, UsageError
from toolkit.data.class_source import open_source
from toolkit.embedding.suspects import confident_disagreements, out_of_fold, precision_recall, suspected_labels


def test_planted_swaps_among_clusters() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 100)
    features = (rng.normal(0, 1, (4, 32))[truth] + rng.normal(0, 0.4, (400, 32))).astype(np.float32)
    planted = rng.choice(400, 20, replace=False)
    noisy = truth.copy()
    noisy[planted] = (truth[planted] + 1) % 4
    found = confident_disagreements(out_of_fold(features, noisy, 4, seed=1), noisy)
    precision, recall = precision_recall([str(i) for i, _ in found], [str(i) for i in planted])
    assert precision >= 0.9
    assert recall >= 0.75
    assert all(suggestion == truth[i] for i, suggestion in found if i in planted)
    assert confident_disagreements(out_of_fold(features, truth, 4, seed=1), truth) == []


def test_no_image_is_judged_by_its_own_label() -> None:
    """With features that say nothing, a classifier that had seen an image would know its label; this one does not."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (200, 300)).astype(np.float32)
    truth = rng.integers(0, 2, 200)
    right = (out_of_fold(features, truth, 2).argmax(axis=1) == truth).mean()
    assert 0.3 < right < 0.7


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Red and blue images, of which one red one lies among the blue ones; the model lies beside them."""
    rng = np.random.default_rng(0)
    for i in range(24):
        red = i % 2 == 0
        tint = tuple(int(v) for v in rng.integers(0, 60, 3))
        colour = (190 + tint[0], tint[1], tint[2]) if red else (tint[0], tint[1], 190 + tint[2])
        write_image(tmp_path / f"data/{'red' if red and i != 6 else 'blue'}/{i}.png", colour)
    write_conv_network(tmp_path / "model.onnx", contract(("a", "b"), 32))
    return tmp_path


def test_command(colours: Path) -> None:
    done = run_cli("check", "data", "--model", "model.onnx", "--folds", "4", "--out", "found.csv", cwd=colours)
    assert done.returncode == 0, done.stderr
    assert "suspected_label: 1 (labels that a model finds wrong (--model))" in done.stdout
    with (colours / "found.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["kind"] == "suspected_label"]
    assert [(row["path"], row["label"]) for row in found] == [("blue/6.png", "blue")]
    assert "looks like red" in found[0]["detail"]
    done = run_cli("check", "data", "--model", "model.onnx", "--fail-on", "suspected_label", cwd=colours)
    assert done.returncode == 6


def test_an_archive_is_judged_as_its_folder(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", colours, "data")
    found = suspected_labels(open_source(Path(archive)), colours / "model.onnx", folds=4)
    assert found == suspected_labels(open_source(colours / "data"), colours / "model.onnx", folds=4)
    assert [suspect.path for suspect in found] == ["blue/6.png"]


def test_what_cannot_be_judged(colours: Path) -> None:
    source = open_source(colours / "data")
    with pytest.raises(UsageError, match="--folds 1"):
        suspected_labels(source, colours / "model.onnx", folds=1)
    with pytest.raises(InputError, match="class red has 11 files, fewer than the 13 folds"):
        suspected_labels(source, colours / "model.onnx", folds=13)


def test_findings_are_printed_where_no_label_can_be_judged(colours: Path, run: Cli) -> None:
    (colours / "data/red/broken.png").write_bytes(b"")
    for path in sorted((colours / "data/red").glob("*.png"))[3:-1]:
        path.unlink()
    line = ("check", "data", "--model", "model.onnx")
    done = run(*line, "--out", "found.csv")
    assert done.code == 0, done.err
    why = "class red has 4 files, fewer than the 5 folds that the labels are judged in"
    assert f"warning: no label is judged by --model model.onnx: data: {why}; --folds 4" in done.err
    assert "class red has 3 readable images, fewer than the 4 folds" in run(*line, "--folds", "4").err
    assert "empty: 1 (files of 0 bytes)" in done.out
    assert "red/broken.png" in (colours / "found.csv").read_text()
    done = run(*line, "--fail-on", "suspected_label")
    assert (done.code, "empty: 1 " in done.out, "has nothing to go by" in done.err) == (3, True, True)
    shutil.rmtree(colours / "data/red")
    assert "it has 1 class" in run(*line).err


def test_a_model_that_is_not_there_is_said_at_once(colours: Path, run: Cli) -> None:
    done = run("check", "data", "--model", "modle.onnx")
    assert (done.code, done.out) == (4, "")
    assert "modle.onnx: no model there; did you mean 'model.onnx'?" in done.err
    assert "did you mean 'imagenet'?" in run("infer", "data", "--model", "imagnet").err
    assert "did you mean" not in run("infer", "data", "--model", "elsewhere/imagnet").err


@pytest.mark.slow
def test_swapped_labels_of_real_photos(flower_photos: Path, tmp_path: Path) -> None:
    """5 % of the labels of flower_photos swapped; needs what `--model imagenet` is made of."""
    from toolkit.core.errors import ToolkitError
    from toolkit.embedding.feature_session import FeatureSession

    try:
        FeatureSession(Path("imagenet"))
    except ToolkitError as error:
        pytest.skip(f"no imagenet model here: {error.message}")
    files = sorted(flower_photos.glob("*/*.jpg"))
    rng = np.random.default_rng(0)
    planted = set(rng.choice(len(files), round(0.05 * len(files)), replace=False).tolist())
    classes = sorted({file.parent.name for file in files})
    for i, file in enumerate(files):
        label = file.parent.name
        if i in planted:
            label = classes[(classes.index(label) + int(rng.integers(1, len(classes)))) % len(classes)]
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / file.name).symlink_to(file)
    found = suspected_labels(open_source(tmp_path), Path("imagenet"))
    names = [Path(suspect.path).name for suspect in found]
    precision, recall = precision_recall(names, [files[i].name for i in planted])
    assert precision >= 0.7
    assert recall >= 0.6
