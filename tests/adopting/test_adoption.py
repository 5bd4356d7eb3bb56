"""Classifiers from elsewhere: PyTorch's own export, Ultralytics' metadata, channel orders, hostile files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.command_line import ROOT, run_cli

from toolkit.adopting.adopt import PRESETS, AdoptOptions, adopt, carried_labels
from toolkit.core.errors import InputError, MismatchError, ModelError, ToolkitError, UsageError
from toolkit.images.spec import Resize
from toolkit.model_files.contract_io import read_contract
from toolkit.model_files.conventions import Output, TensorLayout, Values
from toolkit.sessions.backend import Runtime
from toolkit.sessions.open_session import open_session

TORCH = ROOT / "tests" / "torch_onnx"
NAMES = ("dynamic_logits", "fixed1_logits", "fixed4_softmax", "dynamic_float16")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("daisy\ndandelion\nroses\nsunflowers\ntulips\n")
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", NAMES)
def test_pytorch_networks_answer_as_in_pytorch(name: str, runtime: Runtime, labels: Path, tmp_path: Path) -> None:
    pictures, expected = np.load(TORCH / "pictures.npy"), np.load(TORCH / f"{name}.npy")
    output: Any = "probabilities" if "softmax" in name else "logits"
    result = adopt(
        TORCH / f"{name}.onnx",
        AdoptOptions(preset="imagenet", labels=labels, output=output, runtime=runtime, out=tmp_path / "adopted.onnx"),
    )
    session = open_session(result.path, device="cpu", runtime=runtime)
    assert session.contract == read_contract(result.path) == result.contract
    assert session.contract.preprocess.resize is Resize.CROP
    limit = 1e-2 if "float16" in name else 1e-4
    for batch in (pictures, pictures[:1], pictures[:7]):
        found = session.run(batch)
        assert np.abs(found - expected[: len(batch)]).max() < limit
        assert (found.argmax(1) == expected[: len(batch)].argmax(1)).all()
    assert len(set(expected.argmax(1))) > 1


def linear(path: Path, shape: list[Any], weights: np.ndarray[Any, Any], metadata: dict[str, str] | None = None) -> Path:
    """logits = mean of each channel @ weights."""
    axes = [2, 3] if shape[1] in (1, 3) else [1, 2]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["probabilities"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [shape[0], weights.shape[1]])],
        [
            numpy_helper.from_array(np.array(axes), "axes"),
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


WEIGHTS = np.array([[3.0, -1.0], [0.0, 2.0], [-2.0, 1.0]])


def softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exponent = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(exponent / exponent.sum(1, keepdims=True))


@pytest.mark.parametrize("shape", [["n", 3, 8, 8], ["n", 8, 8, 3], [1, 3, 8, 8], ["n", 3, "h", "w"]])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("values", ["0..255", "0..1", "-1..1"])
def test_every_way_to_feed(tmp_path: Path, shape: list[Any], channels: Any, values: Any) -> None:
    path = linear(tmp_path / "m.onnx", shape, WEIGHTS)
    (tmp_path / "l.txt").write_text("a\nb\n")
    mean, std = (0.2, 0.1, 0.3), (0.5, 0.6, 0.7)
    chosen = AdoptOptions(
        labels=tmp_path / "l.txt", image_size=(8, 8), values=values, mean=mean, std=std, channels=channels,
        output=Output.LOGITS,
    )  # fmt: skip
    result = adopt(path, chosen)
    pictures = np.load(TORCH / "pictures.npy")[:6, :8, :8]
    fed = pictures.astype(np.float64)[..., ::-1] if channels == "bgr" else pictures.astype(np.float64)
    fed = {"0..255": fed, "0..1": fed / 255, "-1..1": fed / 127.5 - 1}[str(values)]
    expected = softmax(((fed - np.array(mean)) / np.array(std)).mean((1, 2)) @ WEIGHTS)
    assert result.path == tmp_path / "m.adopted.onnx"
    assert np.abs(open_session(result.path, device="cpu").run(pictures) - expected).max() < 1e-4


def test_one_sigmoid_column_becomes_two(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", ["n", 3, 8, 8], WEIGHTS[:, :1])
    (tmp_path / "l.txt").write_text("a\nb\n")
    adopt(path, AdoptOptions(labels=tmp_path / "l.txt", values=Values.UNIT, output=Output.LOGITS))
    pictures = np.load(TORCH / "pictures.npy")[:6, :8, :8]
    p = 1 / (1 + np.exp(-((pictures / 255).mean((1, 2)) @ WEIGHTS[:, :1])))
    found = open_session(tmp_path / "m.adopted.onnx", device="cpu").run(pictures)
    assert np.abs(found - np.concatenate([1 - p, p], 1)).max() < 1e-5


def test_what_the_file_carries_need_not_be_said(tmp_path: Path) -> None:
    carried = {"names": "{0: 'cat', 1: 'dog, large'}", "imgsz": "[8, 16]"}
    path = linear(tmp_path / "yolo.onnx", ["n", 3, "h", "w"], WEIGHTS, carried)
    contract = adopt(path, AdoptOptions(preset="ultralytics", output=Output.LOGITS)).contract
    assert contract.labels == ("cat", "dog, large")
    assert (contract.preprocess.height, contract.preprocess.width) == (8, 16)
    assert carried_labels({"labels": "a\nb\n"}, path) == ("a", "b")
    with pytest.raises(UsageError, match="no class names"):
        carried_labels({"names": "__import__('os').system('true')"}, path)


def test_what_is_not_known_is_asked_for(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", ["n", 3, "h", "w"], WEIGHTS)
    (tmp_path / "l.txt").write_text("a\nb\n")
    known: dict[str, Any] = {"labels": tmp_path / "l.txt", "image_size": (8, 8), "values": "0..1", "output": "logits"}
    adopt(path, AdoptOptions(**known))
    for missing, word in (
        ("labels", "--labels"),
        ("image_size", "--image-size"),
        ("values", "--values"),
        ("output", "--output"),
    ):
        with pytest.raises(UsageError) as caught:
            adopt(path, AdoptOptions(**{key: value for key, value in known.items() if key != missing}))
        assert word in caught.value.hint
    with pytest.raises(UsageError, match="no preset"):
        AdoptOptions(preset="imagenot")
    (tmp_path / "l.txt").write_text("a\nb\nc\n")
    with pytest.raises(ToolkitError, match="3 class names"):
        adopt(path, AdoptOptions(**known))
    assert set(PRESETS) == {"imagenet", "ultralytics", "keras-tf", "keras-torch", "keras-caffe"}


def test_logits_called_probabilities_are_caught(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", ["n", 3, 8, 8], WEIGHTS)
    (tmp_path / "l.txt").write_text("a\nb\n")
    with pytest.raises(MismatchError, match="sum to 1"):
        adopt(path, AdoptOptions(labels=tmp_path / "l.txt", values=Values.UNIT, output=Output.PROBABILITIES))
    assert not (tmp_path / "m.adopted.onnx").exists()


def test_the_command(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "adopted.onnx"
    line: list[str | Path] = [
        "adopt",
        TORCH / "fixed1_logits.onnx",
        "--preset",
        "imagenet",
        "--labels",
        labels,
        "--out",
        out,
    ]
    done = run_cli(*line, cwd=tmp_path)
    assert (done.returncode, "100.00%" in done.stderr) == (0, True), done.stderr
    again = run_cli("adopt", out, "--preset", "imagenet", cwd=tmp_path)
    assert (again.returncode, "already" in again.stderr) == (2, True)


# Hostile and damaged files.


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "link.bin", "gone.bin", "short.bin"])
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "short.bin").write_bytes(bytes(8))
    path = linear(folder / "m.onnx", ["n", 3, 8, 8], WEIGHTS)
    model = onnx.load(path)
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="weights"):
        adopt(path, AdoptOptions(values=Values.UNIT, output=Output.LOGITS))


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", ["n", 3, 8, 8], WEIGHTS, {"labels": "a\nb"})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    adopted = adopt(path, AdoptOptions(values=Values.UNIT, output=Output.LOGITS)).path
    assert not any(tensor.external_data for tensor in onnx.load(adopted, load_external_data=False).graph.initializer)


@pytest.mark.parametrize("keep", [0, 0.3, 0.8, 0.995])
def test_damaged_files_are_refused(tmp_path: Path, keep: float) -> None:
    content = (TORCH / "dynamic_logits.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelError, match=r"m\.onnx"):
        adopt(path, AdoptOptions(preset="imagenet"))


def test_a_gigantic_declared_shape_is_refused(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", ["n", 3, 1 << 30, 1 << 30], WEIGHTS, {"labels": "a\nb"})
    with pytest.raises(ModelError, match="16384"):
        adopt(path, AdoptOptions(values=Values.UNIT, output=Output.LOGITS))
    model = onnx.load(path)
    model.graph.initializer[1].dims[:] = [3, 1 << 40]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError):
        adopt(path, AdoptOptions(values=Values.UNIT, output=Output.LOGITS))


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found nothing"):
        adopt(tmp_path / "m.onnx", AdoptOptions(values=Values.UNIT))
    path = linear(tmp_path / "m.onnx", ["n", 5, 8, 8], WEIGHTS)
    with pytest.raises(UsageError, match="channels first or last"):
        adopt(path, AdoptOptions(values=Values.UNIT))
    with pytest.raises(ModelError, match="5 channels"):
        adopt(path, AdoptOptions(values=Values.UNIT, layout=TensorLayout.NCHW))
    with pytest.raises(InputError, match="cannot be read"):
        adopt(linear(path, ["n", 3, 8, 8], WEIGHTS), AdoptOptions(preset="imagenet", labels=tmp_path / "none.txt"))
