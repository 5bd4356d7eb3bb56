"""Damaged, foreign and hostile model files, and files from PyTorch, by the command line."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image
from support import onnx_networks
from support.command_line import ROOT, run_cli

from toolkit.model_files.contract import METADATA_KEY

TORCH = ROOT / "tests" / "torch_onnx"
CONTRACT = onnx_networks.contract()


def truncated(folder: Path) -> Path:
    path = onnx_networks.write_mean_network(folder / "truncated.onnx", CONTRACT)
    path.write_bytes(path.read_bytes()[:-60])
    return path


def another_kind_of_file(folder: Path) -> Path:
    path = folder / "picture.onnx"
    Image.new("RGB", (9, 9)).save(path, "PNG")
    return path


def weights_outside_the_folder(folder: Path) -> Path:
    path = onnx_networks.write_mean_network(folder / "inside" / "outside.onnx", CONTRACT)
    model = onnx.load(path)
    (folder / "secret").write_bytes(bytes(64))
    for tensor in model.graph.initializer:
        if tensor.name == "weights":
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "../secret"), ("offset", "0"), ("length", "24")):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def gigantic_shape(folder: Path) -> Path:
    path = onnx_networks.write_mean_network(folder / "gigantic.onnx", CONTRACT)
    model = onnx.load(path)
    for dimension in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[dimension].dim_value = 2**40
    path.write_bytes(model.SerializeToString())
    return path


def with_contract(path: Path, **changed: object) -> Path:
    """A whole model file whose contract says something else."""
    onnx_networks.write_mean_network(path, CONTRACT)
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps({**json.loads(entry.value), **changed})
    path.write_bytes(model.SerializeToString())
    return path


def another_schema(folder: Path) -> Path:
    return with_contract(folder / "schema.onnx", schema=99)


def wrong_contract(folder: Path) -> Path:
    """A contract that promises another input than the graph has."""
    return with_contract(folder / "wrong.onnx", height=77)


def foreign_tflite(folder: Path) -> Path:
    path = folder / "foreign.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(200))
    return path


@pytest.mark.parametrize(
    "make",
    [
        truncated,
        another_kind_of_file,
        weights_outside_the_folder,
        gigantic_shape,
        another_schema,
        wrong_contract,
        foreign_tflite,
    ],
)
def test_infer_refuses_with_exit_4_and_a_reason(make: object, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = make(tmp_path)  # type: ignore[operator]
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "photos" / "red.png")
    done = run_cli("infer", "photos", "--out", "labels.csv", "--model", path, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize("make", [truncated, another_kind_of_file, another_schema])
def test_inspect_refuses_too(make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    done = run_cli("inspect", path, cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert path.name in done.stderr


def test_a_bundle_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bundle.json").write_text(json.dumps({"schema": 99}))
    for arguments in (("export", "model", "--onnx"), ("inspect", "model")):
        done = run_cli(*arguments, cwd=tmp_path)
        assert done.returncode == 4, done.stderr
        assert "schema 99" in done.stderr


def test_a_keras_file_with_a_lambda_layer_is_refused_and_not_run(tmp_path: Path) -> None:
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": "evil", "function": "open('ran','w')"},
    }
    config = {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": [layer]}}
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
    (tmp_path / "labels.txt").write_text("Cat\nDog\n")
    for kind in ("Cat", "Dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "photos" / kind / "black.png")
    done = run_cli(
        "export", "evil.keras", "--labels", "labels.txt", "--data", "photos", "--onnx", cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "evil.keras" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["fixed1_logits", "fixed4_softmax", "dynamic_logits", "dynamic_float16"])
def test_pytorch_networks_are_adopted_and_infer_as_in_pytorch(name: str, tmp_path: Path) -> None:
    pictures, answers = np.load(TORCH / "pictures.npy"), np.load(TORCH / f"{name}.npy")
    labels = [f"class {i}" for i in range(answers.shape[1])]
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    (tmp_path / "photos").mkdir()
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:04}.png")
    options = ("--preset", "imagenet", "--labels", "labels.txt", "--out", "mine.onnx")
    output = ("--output", "probabilities") if "softmax" in name else ()
    done = run_cli("adopt", TORCH / f"{name}.onnx", *options, *output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_cli("infer", "photos", "--out", "labels.csv", "--model", "mine.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        found = [row["label"] for row in csv.DictReader(file)]
    assert found == [labels[i] for i in answers.argmax(axis=1)]
    assert len(set(found)) > 1
