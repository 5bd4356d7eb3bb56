"""One ONNX file in onnxruntime and in OpenVINO, on one device and on several."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.command_line import run_cli
from support.onnx_networks import contract, write_conv_network, write_mean_network

from toolkit.core.errors import MachineError, ModelError, UsageError
from toolkit.images.decode import Image
from toolkit.inference import predict as prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import layout, open_model
from toolkit.sessions.backend import Runtime, gpu_numbers
from toolkit.sessions.onnx_session import OnnxSession
from toolkit.sessions.open_session import SeveralSessions, open_session
from toolkit.sessions.session import Session


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_conv_network(tmp_path / "model.onnx", contract(size=24), convolutions=(8, 16), dense=32)


def images(n: int, size: int = 24) -> Image:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("n", [1, 3, 16, 21, 69])
def test_openvino_computes_what_onnxruntime_computes(model: Path, n: int) -> None:
    found = open_session(model, runtime="openvino", threads=1).run(images(n))
    expected = open_session(model, device="cpu", threads=1).run(images(n))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_many_threads_get_their_own_answers(model: Path) -> None:
    session = open_session(model, runtime="openvino", threads=1)
    batches = [images(n) for n in range(1, 40)]
    expected = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(session.run, batches), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_bfloat16_is_near_or_refused(model: Path) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(MachineError, match="does not compute in bfloat16"):
            open_session(model, runtime="openvino", precision="bfloat16")
        return
    found = open_session(model, runtime="openvino", precision="bfloat16", threads=1).run(images(16))
    np.testing.assert_allclose(found, open_session(model, device="cpu").run(images(16)), atol=0.03)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runtime": "tensorrt"}, "expected auto, onnxruntime or openvino"),
        ({"precision": "float8"}, "expected exact or bfloat16"),
        ({"precision": "bfloat16"}, "onnxruntime has none"),
        ({"runtime": "openvino", "device": "cuda"}, "runs on the CPU"),
        ({"device": "gpu"}, "expected auto, cpu, cuda"),
        ({"device": "cuda:0,0"}, "such as cuda:0,1"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        InferOptions(**options)  # type: ignore[arg-type]


def test_a_missing_package_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MachineError) as caught:
        open_session(model, runtime=Runtime.OPENVINO)
    assert "toolkit-images[openvino]" in caught.value.hint


def test_a_graph_that_breaks_its_contract_is_refused(model: Path) -> None:
    broken = onnx.load(model)
    broken.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    onnx.save(broken, model)
    with pytest.raises(ModelError):
        open_session(model, runtime=Runtime.OPENVINO)


def test_damage_is_named(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-2000])
    with pytest.raises(ModelError):
        open_session(model, runtime=Runtime.OPENVINO)


def test_rows_of_two_arithmetics_are_never_mixed(model: Path) -> None:
    """And those of onnxruntime keep the fingerprint that they have had since the first version."""
    exact, openvino = InferOptions(device="cpu"), InferOptions(runtime=Runtime.OPENVINO)
    before = json.dumps(
        [prediction.ROWS_VERSION, hashlib.sha256(model.read_bytes()).hexdigest(), 1, False, 0.0, 2 * 10**8]
    )
    assert layout(open_model(model, exact), exact).model == hashlib.sha256(before.encode()).hexdigest()[:12]
    assert layout(open_model(model, openvino), openvino).model != layout(open_model(model, exact), exact).model


def test_infer_and_update(pet_images: Path, tmp_path: Path) -> None:
    write_mean_network(tmp_path / "model.onnx", contract())
    command = ["infer", str(pet_images / "Cat" / "1.jpg"), str(pet_images / "Dog" / "1.jpg"), "-o", "o.csv"]
    command += ["-m", "model.onnx", "--update"]
    labels = []
    for runtime, words in (
        ("onnxruntime", "2 files"),
        ("openvino", "all done again"),
        ("openvino", "2 unchanged"),
        ("auto", "all done again"),
    ):
        done = run_cli(*command, "--runtime", runtime, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert words in done.stderr
        assert ("(cpu, openvino)" in done.stderr) == (runtime == "openvino")
        with (tmp_path / "o.csv").open(newline="") as file:
            labels.append([row["label"] for row in csv.DictReader(file)])
    assert labels == [labels[0]] * 4


def test_every_gpu_has_a_worker() -> None:
    assert InferOptions(device="cuda:0,1,2,3,4,5,6,7" + "".join(f",{n}" for n in range(8, 500))).n_workers == 500
    assert InferOptions(device="cuda:0,1", workers=1).n_workers == 1
    assert InferOptions().n_workers >= 1


def test_the_numbers_of_gpus() -> None:
    assert gpu_numbers("cuda:3") == (3,)
    assert gpu_numbers("auto") == gpu_numbers("cpu") == ()
    for wrong in ("cuda:", "cuda:a", "cuda:1,", "cpu:0", "", "cuda:-1"):
        assert gpu_numbers(wrong) is None


def test_several_sessions_share_the_work_and_give_the_same_bytes(
    pet_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_conv_network(tmp_path / "m.onnx", contract(size=32), convolutions=(8,), dense=16)
    used: set[int] = set()

    class Watched(OnnxSession):
        def run(self, images_u8: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            used.add(id(self))
            return super().run(images_u8)

    def several(n: int) -> Session:
        return SeveralSessions([Watched(model, threads=1) for _ in range(n)])

    from toolkit.inference.infer import infer
    from toolkit.inference.inputs import Inputs

    results = []
    for n in (1, 2, 3):
        used.clear()
        monkeypatch.setattr("toolkit.inference.infer.open_model", lambda _model, _options, n=n: several(n))
        out = tmp_path / f"{n}.csv"
        infer(Inputs(paths=(str(pet_images),)), out, model, InferOptions(workers=3, batch_size=4))
        results.append(out.read_bytes())
        assert len(used) == n
    assert results == [results[0]] * 3
