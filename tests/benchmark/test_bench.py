"""toolkit bench: what is measured, compared and recommended. No test looks at how long anything takes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.command_line import run_cli
from support.onnx_networks import contract, write_conv_network

from toolkit.benchmark.bench import BenchResult, Speed, Way, bench, ways_to_run
from toolkit.benchmark.worker import Job, decoded, end_to_end_rate, network_rate
from toolkit.cli.label.bench import fields, lines
from toolkit.core.errors import InputError, ModelError, UsageError
from toolkit.inference.options import InferOptions
from toolkit.sessions.backend import Precision, Runtime
from toolkit.sessions.open_session import open_session


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_conv_network(tmp_path / "model.onnx", contract(size=24), convolutions=(8,), dense=16)


@pytest.fixture
def images(pet_images: Path) -> Path:
    return pet_images / "Cat"


def test_the_command_measures_every_way(model: Path, images: Path, tmp_path: Path) -> None:
    done = run_cli("bench", "model.onnx", str(images), "--seconds", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] > 200
    assert found["checked"] == 128
    assert found["decode_per_s"] > 0
    names = [way["name"] for way in found["ways"]]
    assert names[0] == "model.onnx"
    assert "model.onnx openvino" in names
    for way in found["ways"]:
        assert way["error"] == ""
        assert way["agreement"] >= 0.99
        assert way["largest_difference"] < 0.03
        assert way["network_per_s"] > 0
        assert way["end_to_end_per_s"] > 0
        assert way["bound_per_s"] < min(way["network_per_s"], found["decode_per_s"])
        assert way["images_per_night"] == pytest.approx(way["end_to_end_per_s"] * 28800)
        assert way["first_answer_s"] > 0
        assert way["peak_memory_bytes"] > 30e6
    assert found["best"] in names


def test_a_way_that_cannot_be_run_is_an_error_of_its_own(model: Path, images: Path) -> None:
    """Of a bundle's files one is damaged: the others are measured."""
    from toolkit.benchmark.bench import _measured

    model.with_name("model.int8.onnx").write_bytes(model.read_bytes()[:-500])
    way = Way(file=model.with_name("model.int8.onnx"))
    job = Job(
        file=str(way.file),
        device="cpu",
        runtime=Runtime.AUTO,
        precision=Precision.EXACT,
        images=(str(images / "1.jpg"),),
        workers=1,
        seconds=1,
        check="",
    )
    speed = _measured(way, job, 100.0, np.zeros((1, 2), np.float32))
    assert "model.int8.onnx" in speed.error
    assert math.isnan(speed.end_to_end_per_s)
    assert not speed.trusted


def test_the_files_of_a_bundle_plainest_first(model: Path, tmp_path: Path) -> None:
    quantized = onnx.load(model)
    promise = replace(contract(size=24), quantization="int8")
    onnx.helper.set_model_props(quantized, {"toolkit.contract": promise.to_json()})
    onnx.save(quantized, tmp_path / "model.int8.onnx")
    names = [way.name for way in ways_to_run(tmp_path)]
    assert names[0] == "model.onnx"
    assert names[-1] == "model.int8.onnx openvino"
    assert not any("int8" in name and "bfloat16" in name for name in names)
    assert Way(file=model, runtime=Runtime.OPENVINO, precision=Precision.BFLOAT16).arguments == (
        *("--model", str(model), "--device", "cpu"),
        *("--runtime", "openvino", "--precision", "bfloat16"),
    )


def test_what_is_missing_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as unknown:
        bench(model)
    assert "toolkit bench" in unknown.value.hint
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelError, match="no ONNX or TFLite"):
        bench(tmp_path / "nothing")
    with pytest.raises(InputError, match="none that can be read"):
        bench(model, tmp_path / "nothing")


def speed(way: str, rate: float, agreement: float, error: str = "") -> Speed:
    return Speed(
        way=Way(file=Path(way)),
        network_per_s=2 * rate,
        end_to_end_per_s=rate,
        bound_per_s=1.1 * rate,
        first_answer_s=0.5,
        agreement=agreement,
        largest_difference=0.01,
        error=error,
    )


def test_only_what_answers_like_the_reference_is_recommended() -> None:
    result = BenchResult(
        n_images=3,
        n_checked=3,
        reference="the Keras network",
        workers=2,
        decode_per_s=5000,
        speeds=(
            speed("a.onnx", 100, 1.0),
            speed("b.onnx", 300, 0.9),
            speed("c.onnx", 200, 0.99),
            speed("d", 9, 1, "no"),
        ),
    )
    assert result.best is not None
    assert result.best.way.name == "c.onnx"
    text = "\n".join(lines(result))
    assert "toolkit infer IMAGES --out labels.csv --model c.onnx" in text
    assert "5,760,000 images per night" in text
    assert fields(result)["best"] == "c.onnx"
    none = replace(result, speeds=result.speeds[1:2])
    assert none.best is None
    assert "none is recommended" in lines(none)[-1]


def test_rates_are_of_real_work(model: Path, images: Path) -> None:
    """A folder smaller than a batch is gone through again and again."""
    paths = tuple(map(str, sorted(images.glob("1*.jpg"))[:5]))
    job = Job(
        file=str(model),
        device="cpu",
        runtime=Runtime.AUTO,
        precision=Precision.EXACT,
        images=paths,
        workers=2,
        seconds=0.2,
        check="",
    )
    session = open_session(model, device="cpu", threads=1)
    ready = decoded(paths, session.contract)
    assert ready.shape == (5, 24, 24, 3)
    assert network_rate(session, ready, 16, job) > 0
    assert end_to_end_rate(job, InferOptions(device="cpu", workers=2)) > 0
