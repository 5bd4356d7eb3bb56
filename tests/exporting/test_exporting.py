"""Export in three formats and three kinds of number, from a network trained on real images."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper
from support.bundles import images_of, make_bundle, unpack_some
from support.command_line import run_cli

from toolkit import cli
from toolkit.cli import console
from toolkit.core.errors import InputError, MismatchError, ModelError, UsageError
from toolkit.data.walk import sample
from toolkit.exporting import artefacts
from toolkit.exporting.artefacts import artefact_name
from toolkit.exporting.export import export
from toolkit.exporting.keras_file import load_keras
from toolkit.exporting.load import ExportSource
from toolkit.exporting.options import ExportOptions, Format, Quantize
from toolkit.exporting.serving_graph import find_output, find_values
from toolkit.exporting.verification import open_runner
from toolkit.images.decode import decode
from toolkit.images.spec import Preprocess
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import open_model, predict
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files.bundle import load_bundle
from toolkit.model_files.contract import LABELS_KEY, METADATA_KEY, Contract
from toolkit.model_files.contract_io import read_contract, tflite_metadata
from toolkit.model_files.conventions import Output, Values
from toolkit.model_files.inspect import inspect
from toolkit.sessions.backend import Runtime
from toolkit.training.networks import keras_model as network
from toolkit.training.recipes.recipe import documented, load_recipe

FILES = [
    (Format.ONNX, None),
    (Format.ONNX, Quantize.FLOAT16),
    (Format.ONNX, Quantize.INT8),
    (Format.TFLITE, None),
    (Format.TFLITE, Quantize.FLOAT16),
    (Format.TFLITE, Quantize.INT8),
    (Format.SAVEDMODEL, None),
]


def options(kind: Format, quantize: Quantize | None = None, **more: Any) -> ExportOptions:
    wanted: dict[str, Any] = {str(kind): True, **more}
    return ExportOptions(quantize=quantize, **wanted)


@pytest.fixture(scope="session")
def fashion_images(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 Fashion-MNIST images of each class, class folders."""
    target = tmp_path_factory.mktemp("fashion-some")
    return unpack_some(data_dir / "fashion_mnist_images.zip", target, "fashion_mnist_images/test", 120)


@pytest.fixture(scope="session")
def fashion_bundle(fashion_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "fashion"
    return make_bundle(folder, load_recipe("fashion"), fashion_images, per_class=120, epochs=12)


@pytest.fixture(scope="session")
def exported(fashion_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file of the `fashion` network."""
    out = tmp_path_factory.mktemp("exported")
    for quantize in (None, *Quantize):
        export(
            fashion_bundle,
            ExportOptions(onnx=True, tflite=True, savedmodel=quantize is None, quantize=quantize, out=out),
        )
    return out


@pytest.fixture(scope="session")
def truth(fashion_bundle: Path, fashion_images: Path) -> tuple[Any, Any]:
    """200 images uint8, and what the saved Keras network says of them, asked without any of the exporter's code."""
    bundle = load_bundle(fashion_bundle)
    images = np.stack([decode(p.read_bytes(), bundle.contract.preprocess) for p in images_of(fashion_images, 20)])
    model = keras.saving.load_model(bundle.keras_path)
    return images, network.probabilities(model.predict(images.astype(np.float32), verbose=0), "softmax")


@pytest.mark.parametrize(
    ("kind", "quantize", "runtime"),
    [(*file, "auto") for file in FILES] + [(kind, q, "openvino") for kind, q in FILES if kind is Format.ONNX],
)
def test_each_file_computes_what_keras_computes(
    exported: Path,
    truth: tuple[Any, Any],
    fashion_bundle: Path,
    kind: Format,
    quantize: Quantize | None,
    runtime: Runtime,
    request: pytest.FixtureRequest,
) -> None:
    if quantize is Quantize.INT8:  # made images lie closer to the borders between classes
        request.getfixturevalue("real_images")
    images, expected = truth
    path = exported / artefact_name(kind, options(kind, quantize))
    contract = read_contract(path)
    assert contract == replace(load_bundle(fashion_bundle).contract, quantization=str(quantize or "float32"))
    run = open_runner(path, kind, runtime)
    found = run(images)
    limit = {None: 1e-4, Quantize.FLOAT16: 1e-2, Quantize.INT8: 0.15}[quantize]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < limit
    assert (found.argmax(1) == expected.argmax(1)).mean() >= (1.0 if quantize is None else 0.98)
    steps = 10 / 512 if (kind, quantize) == (Format.TFLITE, Quantize.INT8) else 1e-3  # half of 1/256 for each class
    assert np.abs(found.sum(1) - 1).max() <= steps
    assert np.abs(run(images[:1]) - found[:1]).max() < 1e-5
    assert inspect(path).contract == contract


def test_sizes(exported: Path) -> None:
    size = {path.name: path.stat().st_size for path in exported.iterdir() if path.is_file()}
    for kind in ("onnx", "tflite"):
        assert size[f"model.float16.{kind}"] <= 0.52 * size[f"model.{kind}"]
        assert size[f"model.int8.{kind}"] <= 0.30 * size[f"model.{kind}"]


def test_the_report_holds_every_file(exported: Path) -> None:
    report = json.loads((exported / "export.json").read_text())
    assert set(report["artefacts"]) == {artefact_name(kind, options(kind, q)) for kind, q in FILES}
    for entry in report["artefacts"].values():
        assert entry["misses"] == []
        assert entry["n_pictures"] == 512
        assert entry["top1_agreement"] >= 0.98
        assert abs(entry["accuracy"] - entry["keras_accuracy"]) <= 0.01
    path = exported / "model.onnx"
    assert report["artefacts"]["model.onnx"]["sha256"] == inspect(path).sha256


def test_onnx_is_what_others_read(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata[LABELS_KEY].splitlines() == list(json.loads(metadata[METADATA_KEY])["labels"])
    source, target = model.graph.input[0], model.graph.output[0]
    assert (source.name, target.name) == ("images", "probabilities")
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert source.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [18]
    quantized = onnx.load(exported / "model.int8.onnx")
    operations = {node.op_type for node in quantized.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operations
    assert source.type == quantized.graph.input[0].type


def test_int8_weights_leave_room_for_processors_without_vnni(exported: Path) -> None:
    """Two products of a byte and an 8-bit weight do not fit into the 16 bits in which they are added there."""
    graph = onnx.load(exported / "model.int8.onnx").graph
    weights = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    large = [w for w in weights if w.ndim == 2]
    assert len(large) == 2
    assert all(63 <= np.abs(w.astype(int)).max() <= 64 for w in large)


@pytest.mark.parametrize("name", ["model.tflite", "model.float16.tflite", "model.int8.tflite"])
def test_tflite_is_what_others_read(exported: Path, name: str) -> None:
    path = exported / name
    labels = read_contract(path).labels
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(labels)
    packed = tflite_metadata(memoryview(path.read_bytes()), "TFLITE_METADATA")
    assert packed is not None
    graph = flatbuffer.root(packed, b"M001").tables(6)[0]
    image, output = graph.tables(2)[0], graph.tables(3)[0]
    assert (image.text(0), output.text(0)) == ("images", "probabilities")
    file = output.tables(6)[0]
    assert (file.text(0), file.integer(2, "b")) == ("labels.txt", 2)
    interpreter = Interpreter(model_path=str(path))
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert (source["name"], source["dtype"]) == ("images", np.uint8)
    assert (target["name"], target["dtype"]) == ("probabilities", np.float32)
    assert list(source["shape_signature"]) == [-1, 28, 28, 1]
    runner = interpreter.get_signature_runner("serving_default")
    assert runner(images=np.zeros((1, 28, 28, 1), np.uint8))["probabilities"].shape == (1, 10)


def test_tflite_int8_is_integer_throughout(exported: Path) -> None:
    interpreter = Interpreter(model_path=str(exported / "model.int8.tflite"))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert source["quantization"] == (1.0, 0)
    floats = [d["index"] for d in interpreter.get_tensor_details() if np.issubdtype(d["dtype"], np.floating)]
    assert floats == [target["index"]]
    assert inspect(exported / "model.int8.tflite").operations["DEQUANTIZE"] == 1


def test_the_savedmodel_loads_in_tensorflow_alone(exported: Path, truth: tuple[Any, Any], tmp_path: Path) -> None:
    images, expected = truth
    np.savez(tmp_path / "in.npz", images=images[:8])
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "out = serve(images=tf.constant(np.load('in.npz')['images']))['probabilities']\n"
        "assert 'toolkit' not in sys.modules\n"
        "np.save('out.npy', out.numpy())\n"
    )
    folder = exported / "saved_model"
    subprocess.run([sys.executable, "-c", code, folder], cwd=tmp_path, check=True, capture_output=True)
    assert np.abs(np.load(tmp_path / "out.npy") - expected[:8]).max() < 1e-5
    contract = read_contract(folder)
    assert (folder / "assets" / "labels.txt").read_text().splitlines() == list(contract.labels)


# Wrong exports. Each fault is put between the network and the file, where a faulty converter would put it.


def _wrong_weight(source: ExportSource) -> ExportSource:
    copied = keras.models.clone_model(source.network.layers)
    weights = source.network.layers.get_weights()
    weights[-2] = weights[-2].copy()
    weights[-2][:, 3] *= 1.5
    copied.set_weights(weights)
    return replace(source, network=replace(source.network, layers=copied))


def _wrong_scaling(source: ExportSource) -> ExportSource:
    return replace(source, network=replace(source.network, values=Values.SYMMETRIC))


def _wrong_labels(source: ExportSource) -> ExportSource:
    """The network's columns in another order than the class names."""
    layers = source.network.layers
    turned = keras.Model(layers.inputs, keras.ops.flip(layers.outputs[0], axis=-1))
    return replace(source, network=replace(source.network, layers=turned))


@pytest.mark.parametrize("fault", [_wrong_weight, _wrong_scaling, _wrong_labels])
@pytest.mark.parametrize(("kind", "quantize"), FILES)
def test_a_wrong_export_is_caught(
    fashion_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Format,
    quantize: Quantize | None,
    fault: Callable[[ExportSource], ExportSource],
) -> None:
    right = artefacts._writers
    monkeypatch.setattr(artefacts, "_writers", lambda source, *rest: right(fault(source), *rest))
    kept = tmp_path / artefact_name(kind, options(kind, quantize))
    kept.mkdir() if kind is Format.SAVEDMODEL else kept.touch()
    with pytest.raises(MismatchError, match="does not compute"):
        export(fashion_bundle, options(kind, quantize, out=tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == [kept.name]
    assert not (any(kept.iterdir()) if kept.is_dir() else kept.stat().st_size)


@pytest.mark.parametrize("kind", list(Format))
def test_a_contract_with_other_labels_is_caught(
    fashion_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Format
) -> None:
    right = artefacts._writers

    def writers(*arguments: Any) -> Iterator[tuple[bool, Callable[[Path, Contract], None]]]:
        for last_resort, write in right(*arguments):
            yield last_resort, lambda path, contract: write(path, replace(contract, labels=contract.labels[::-1]))  # noqa: B023

    monkeypatch.setattr(artefacts, "_writers", writers)
    with pytest.raises(MismatchError, match="contract in it"):
        export(fashion_bundle, options(kind, out=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_5_and_force_keeps_the_file_with_its_miss(
    fashion_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = artefacts._writers
    monkeypatch.setattr(artefacts, "_writers", lambda source, *rest: right(_wrong_scaling(source), *rest))
    monkeypatch.setattr(console, "keep_native_messages_out", lambda: None)
    line = ["toolkit", "export", str(fashion_bundle), "--onnx", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    assert cli.main() == 5
    assert "largest difference" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", [*line, "--force"])
    assert cli.main() == 0
    assert "warning" in capsys.readouterr().err
    assert "largest difference" in read_contract(tmp_path / "model.onnx").miss
    assert json.loads((tmp_path / "export.json").read_text())["artefacts"]["model.onnx"]["misses"]


def test_exporting_again_is_fine_and_replaces_the_file(fashion_bundle: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "saved_model"):
        first = export(fashion_bundle, ExportOptions(onnx=True, savedmodel=True, out=tmp_path))
        before = (tmp_path / name).stat().st_ino
        second = export(fashion_bundle, ExportOptions(onnx=True, savedmodel=True, out=tmp_path))
        assert (tmp_path / name).stat().st_ino != before
        assert [a.contract for a in first.artefacts] == [a.contract for a in second.artefacts]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export.json", "model.onnx", "saved_model"]


def test_the_command_line(fashion_bundle: Path, tmp_path: Path) -> None:
    done = run_cli("export", fashion_bundle, "--onnx", "--tflite", "--out", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100.00%" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    shown = run_cli("inspect", tmp_path / "model.onnx", "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["contract"]["recipe"] == "fashion"
    wrong = run_cli("export", fashion_bundle, cwd=tmp_path)
    assert (wrong.returncode, "--onnx" in wrong.stderr) == (2, True)
    missing = run_cli("export", tmp_path / "nowhere", "--onnx", cwd=tmp_path)
    assert (missing.returncode, "found nothing" in missing.stderr) == (4, True)


def test_vanished_images(fashion_bundle: Path, fashion_images: Path, tmp_path: Path) -> None:
    """Without the validation images the bundle's own few prove it, or `--data`; int8 needs training images."""
    moved = tmp_path / "bundle"
    moved.mkdir()
    for path in fashion_bundle.iterdir():
        if path.is_file():
            (moved / path.name).write_bytes(path.read_bytes())
    text = (moved / "bundle.json").read_text()
    (moved / "bundle.json").write_text(text.replace(str(fashion_images), str(tmp_path / "gone")))
    few = export(moved, ExportOptions(onnx=True)).artefacts[0].verification
    assert (few.n_images, few.accuracy) == (30, None)
    many = export(moved, ExportOptions(onnx=True, data=fashion_images)).artefacts[0].verification
    assert many.n_images == 512
    with pytest.raises(InputError, match="calibrated"):
        export(moved, ExportOptions(onnx=True, quantize=Quantize.INT8))
    (moved / "model.keras").write_bytes((moved / "model.keras").read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"model\.keras"):
        export(moved, ExportOptions(onnx=True))


def test_options_that_do_not_go_together(fashion_bundle: Path) -> None:
    with pytest.raises(UsageError, match="no format"):
        ExportOptions()
    with pytest.raises(UsageError, match="SavedModel"):
        ExportOptions(savedmodel=True, quantize=Quantize.INT8)
    with pytest.raises(UsageError, match="knows its class names"):
        export(fashion_bundle, ExportOptions(onnx=True, values=Values.BYTES))


# A user's own `.keras` file.


def small_network(*, rescale: bool, last: str | None) -> keras.Model:
    layers: list[Any] = [keras.Input((28, 28, 1)), keras.layers.RandomFlip("horizontal"), keras.layers.RandomHue(0.1)]
    layers[2:] = [keras.layers.RandomContrast(0.2)]
    if rescale:
        layers.append(keras.layers.Rescaling(1 / 255))
    layers += [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(10, activation=last)])


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{n}\n" for n in range(10)))
    return path


def test_a_keras_file_says_itself_what_it_wants(fashion_images: Path, labels_file: Path, tmp_path: Path) -> None:
    small_network(rescale=True, last="softmax").save(tmp_path / "own.keras")
    result = export(
        tmp_path / "own.keras",
        ExportOptions(onnx=True, tflite=True, savedmodel=True, labels=labels_file, data=fashion_images),
    )
    assert [a.verification.misses for a in result.artefacts] == [(), (), ()]
    assert read_contract(tmp_path / "model.onnx").labels == tuple("0123456789")
    assert not any("Random" in name for name in inspect(tmp_path / "saved_model").operations)


@pytest.mark.parametrize("values", list(Values))
@pytest.mark.parametrize("output", list(Output))
def test_what_a_keras_file_does_not_say_is_asked_for(
    fashion_images: Path, labels_file: Path, tmp_path: Path, values: Values, output: Output
) -> None:
    path = tmp_path / "own.keras"
    model = small_network(rescale=False, last=None if output is Output.LOGITS else "softmax")
    model.save(path)
    own: dict[str, Any] = {"labels": labels_file, "data": fashion_images}
    with pytest.raises(UsageError, match=r"0\.\.255, 0\.\.1 or -1\.\.1") as caught:
        export(path, ExportOptions(onnx=True, **own))
    assert "--values" in caught.value.hint
    if output is Output.LOGITS:
        with pytest.raises(UsageError, match="logits or probabilities"):
            export(path, ExportOptions(onnx=True, values=values, **own))
    export(path, ExportOptions(onnx=True, values=values, output=output, **own))
    images = np.stack([decode(p.read_bytes(), read_contract(tmp_path / "model.onnx").preprocess)
                       for p in images_of(fashion_images, 2)])  # fmt: skip
    wanted: dict[str, Any] = {"0..255": images, "0..1": images / 255, "-1..1": images / 127.5 - 1}
    scaled = wanted[values].astype(np.float32)
    raw = model.predict(scaled, verbose=0)
    expected = network.probabilities(raw, "logits" if output is Output.LOGITS else "softmax")
    assert np.abs(open_runner(tmp_path / "model.onnx", Format.ONNX)(images) - expected).max() < 1e-4


def test_a_keras_file_needs_labels_and_images(labels_file: Path, tmp_path: Path, fashion_images: Path) -> None:
    path = tmp_path / "own.keras"
    small_network(rescale=True, last="softmax").save(path)
    with pytest.raises(UsageError, match="class names"):
        export(path, ExportOptions(onnx=True, data=fashion_images))
    with pytest.raises(UsageError, match="no images"):
        export(path, ExportOptions(onnx=True, labels=labels_file))
    labels_file.write_text("a\nb\n")
    with pytest.raises(InputError, match="named like the classes"):
        export(path, ExportOptions(onnx=True, labels=labels_file, data=fashion_images))
    labels_file.write_text("0\n1\n0\n")
    with pytest.raises(InputError, match="twice"):
        export(path, ExportOptions(onnx=True, labels=labels_file, data=fashion_images))
    labels_file.write_text("0\n1\n2\n")
    with pytest.raises(ModelError, match="3 columns for 3 class names"):
        export(path, ExportOptions(onnx=True, labels=labels_file, data=fashion_images))


def test_what_layers_say() -> None:
    inputs = [keras.Input((8, 8, 3)), keras.layers.RandomFlip()]
    last = keras.layers.Dense(3)
    for scale, offset, expected in (
        (1 / 255, 0, Values.BYTES),
        (1 / 127.5, -1, Values.BYTES),
        (255, 0, None),
        (2, -1, None),
    ):
        model = keras.Sequential([*inputs, keras.layers.Rescaling(scale, offset), keras.layers.Flatten(), last])
        assert find_values(model) is expected
        last = keras.layers.Dense(3)
    for activation, found in ((None, None), ("softmax", Output.PROBABILITIES), ("sigmoid", Output.PROBABILITIES)):
        dense = keras.layers.Dense(3, activation=activation)
        assert find_output(keras.Sequential([keras.Input((8,)), dense])) is found
    assert find_output(keras.Sequential([keras.Input((8,)), last, keras.layers.Softmax()])) is Output.PROBABILITIES


# Hostile `.keras` files.


def rewrite_config(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Apply `change` to the configuration of each layer within a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    for layer in config["config"]["layers"]:
        change(layer)
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_lambda_layer_is_refused_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "own.keras", tmp_path / "ran"
    code = keras.layers.Lambda(lambda x, p=str(proof): (Path(p).write_text("ran"), x)[1], output_shape=(4,))
    keras.Sequential([keras.Input((4,)), code, keras.layers.Dense(2)]).save(path)
    proof.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="Keras cannot load"):
        load_keras(path)
    assert not proof.exists()


def test_a_gigantic_shape_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    small_network(rescale=True, last="softmax").save(path)

    def grow(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "Dense":
            layer["config"]["units"] = 2_000_000_000

    with pytest.raises(ModelError, match="declares 5,410,000,000,044 weights"):
        load_keras(rewrite_config(path, grow))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_keras_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.keras"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"own\.keras"):
        load_keras(path)


@pytest.mark.parametrize("keep", [0.2, 0.7, 0.99])
def test_a_truncated_keras_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "own.keras"
    small_network(rescale=True, last="softmax").save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ModelError):
        load_keras(path)


def test_other_weights_than_the_bundle_describes_are_refused(fashion_bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "bundle"
    moved.mkdir()
    for name in ("bundle.json", "check.npz", "data.csv"):
        (moved / name).write_bytes((fashion_bundle / name).read_bytes())
    model = load_keras(fashion_bundle / "model.keras")
    model.layers[-1].bias.assign(model.layers[-1].bias + 0.5)
    model.save(moved / "model.keras")
    with pytest.raises(ModelError, match="not the network"):
        export(moved, ExportOptions(onnx=True))


# The documented networks.


@pytest.mark.slow
@pytest.mark.parametrize("name", documented())
def test_every_documented_network_in_every_format(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if name == "places":
        small = Preprocess(height=32, width=32)
        recipe = replace(recipe, preprocess=small)
    root: Path
    if name == "fashion":
        root = request.getfixturevalue("fashion_images")
    elif name == "malaria":
        root = request.getfixturevalue("cell_images")
    elif name.startswith("cats-dogs"):
        root = request.getfixturevalue("pet_images")
    else:
        root = request.getfixturevalue("flower_photos")
    if name == "places":
        chosen = tmp_path / "places"
        chosen.mkdir()
        for label, folder in zip(recipe.labels or (), ("daisy", "roses", "tulips"), strict=True):
            (chosen / label).symlink_to(root / folder)
        root = chosen
    bundle = make_bundle(tmp_path / "model", recipe, root, per_class=24, epochs=1)
    result = export(bundle, ExportOptions(onnx=True, tflite=True, savedmodel=True))
    assert len(result.artefacts) == 3
    for artefact in result.artefacts:
        assert artefact.verification.misses == ()
        assert artefact.verification.difference <= 1e-4
        assert artefact.verification.agreement == 1.0


def test_there_are_seven_documented_networks() -> None:
    assert len(documented()) == 7


@pytest.mark.parametrize("quantize", [None, Quantize.INT8])
def test_infer_runs_tflite_files_too(
    exported: Path, fashion_images: Path, tmp_path: Path, quantize: Quantize | None
) -> None:
    """On a directory, from two threads and with a last batch of another size, the same as the ONNX file."""
    samples = [sample(str(path), path.name) for path in images_of(fashion_images, 7)]
    options_ = InferOptions(workers=2, batch_size=16)
    found = {}
    for kind in (Format.ONNX, Format.TFLITE):
        path = exported / artefact_name(kind, options(kind, quantize))
        found[kind] = np.stack(
            [np.asarray(p.probabilities) for p in predict(samples, open_model(path, options_), options_)]
        )
    assert len(found[Format.TFLITE]) == len(samples)
    assert np.abs(found[Format.ONNX] - found[Format.TFLITE]).max() < (1e-4 if quantize is None else 0.2)
