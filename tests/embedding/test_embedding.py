"""Features: the network before its last layer, one row for every file, in every format; nearest neighbours."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from support.command_line import Cli, environment, run_cli
from support.onnx_networks import contract, write_conv_network, write_mean_network

import toolkit
from toolkit.core.errors import InputError, ModelError, UsageError
from toolkit.embedding.feature_files import FeatureRow, is_feature_file, read_features, rows_path, write_features
from toolkit.embedding.feature_session import FeatureSession
from toolkit.images.decode import decode
from toolkit.inference.options import InferOptions

N_FEATURES = 128


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network with 128 features."""
    return write_conv_network(tmp_path_factory.mktemp("network") / "model.onnx", contract())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images, a broken one in a folder below, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(12):
        image = cv2.resize(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8), (40, 40))
        cv2.imwrite(str(folder / f"{i:02}.png"), image)
    (folder / "below" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (folder / "notes.txt").write_text("no image")
    return folder


def _expected(network: Path, image: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What the network's own tensor before its last layer holds."""
    model = onnx.load(network)
    model.graph.output.append(onnx.helper.make_tensor_value_info("d1", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = decode(image.read_bytes(), contract().preprocess)
    return np.asarray(session.run(["d1"], {"images": pixels[None]})[0][0])


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_every_file_has_its_row_in_every_format(network: Path, photos: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"features{suffix}"
    result = toolkit.embed(photos, out, network)
    assert (result.n_files, result.n_errors, result.n_features, result.counts.others) == (13, 1, N_FEATURES, 1)
    rows = list(read_features(out))
    assert [Path(row.path).name for row in rows] == [*(f"{i:02}.png" for i in range(12)), "broken.jpg"]
    assert rows[12].features is None
    assert rows[12].error
    for row in rows[:12]:
        assert row.features is not None
        assert row.features.dtype == np.float32
        assert np.abs(row.features - _expected(network, Path(row.path))).max() < 1e-5
        assert (row.size, row.mtime_ns) == (os.stat(row.path).st_size, os.stat(row.path).st_mtime_ns)
    assert {p.name for p in tmp_path.iterdir()} - {"photos"} == {out.name, *_beside(out)}


def _beside(out: Path) -> list[str]:
    return [rows_path(out).name] if out.suffix == ".npy" else []


def test_npy_is_a_plain_array_with_nan_where_there_is_an_error(network: Path, photos: Path, tmp_path: Path) -> None:
    toolkit.embed(photos, tmp_path / "features.npy", network)
    features = np.load(tmp_path / "features.npy")
    assert (features.shape, features.dtype) == ((13, N_FEATURES), np.float32)
    assert np.isnan(features).all(axis=1).tolist() == [False] * 12 + [True]
    with (tmp_path / "features.rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok"] * 12 + ["error"]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    rows = [
        FeatureRow(path='odd, "name"\n.jpg', features=None, error="broken", size=-1, mtime_ns=0, model="m"),
        *(
            FeatureRow(
                path=f"ü/{i}.jpg",
                features=rng.normal(0, 10.0 ** rng.integers(-20, 20), 7).astype(np.float32),
                error="",
                size=i,
                mtime_ns=1_700_000_000_123_456_789 + i,
                model="m",
            )
            for i in range(1200)
        ),
    ]
    out = tmp_path / f"features{suffix}"
    write_features(out, 7, len(rows), rows)
    assert is_feature_file(out)
    for before, after in zip(rows, read_features(out), strict=True):
        assert before.cells == after.cells
        assert (before.features is None) == (after.features is None)
        if before.features is not None and after.features is not None:
            assert before.features.tobytes() == after.features.tobytes()


def test_a_foreign_file_is_left_untouched(network: Path, photos: Path, tmp_path: Path) -> None:
    for name, content in (("mine.csv", b"a,b\n1,2\n"), ("mine.npy", b"\x93NUMPY"), ("mine.parquet", b"PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="toolkit did not write it"):
            toolkit.embed(photos, tmp_path / name, network)
        assert (tmp_path / name).read_bytes() == content
        with pytest.raises(InputError, match="no file of features"):
            list(read_features(tmp_path / name))
    for name in ("fine.rows.csv", "fine.npy.partial"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match="toolkit did not write it"):
            toolkit.embed(photos, tmp_path / "fine.npy", network)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=r"ends in \.parquet, \.npy, \.csv"):
        toolkit.embed(photos, tmp_path / "features.txt", network)


def test_a_network_without_a_dense_last_layer_is_refused(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    for node in list(model.graph.node):
        if node.op_type == "MatMul":
            node.op_type = "Add"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError):
        FeatureSession(tmp_path / "odd.onnx")


def test_the_smallest_network_has_features_too(tmp_path: Path) -> None:
    session = FeatureSession(write_mean_network(tmp_path / "mean.onnx", contract()))
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[1, ..., 0] = 255
    assert session.run(images).tolist() == [[0, 0, 0], pytest.approx([1, 0, 0])]


def test_a_stopped_run_is_continued_to_the_same_bytes(network: Path, photos: Path, tmp_path: Path) -> None:
    for i in range(300):
        shutil.copy(photos / f"{i % 12:02}.png", photos / f"copy{i:03}.png")
    toolkit.embed(photos, tmp_path / "whole.npy", network, InferOptions(batch_size=4))
    command = ("embed", photos, "--out", tmp_path / "killed.npy", "--model", network, "--batch-size", "4")
    partial = tmp_path / "killed.npy.partial"
    for _ in range(3):
        run = subprocess.Popen(
            [sys.executable, "-m", "toolkit", *map(str, command)],
            env=environment(),
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        before = partial.stat().st_size if partial.exists() else 0
        while run.poll() is None and time.monotonic() < deadline:
            if partial.exists() and partial.stat().st_size > before + 2000:
                run.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        run.wait()
    with partial.open("ab") as file:  # as if killed while a row was written
        file.write(b'"torn')
    done = run_cli(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert (tmp_path / "killed.rows.csv").read_bytes() == (tmp_path / "whole.rows.csv").read_bytes()
    assert not partial.exists()


def test_the_nearest_images_are_printed_best_first(network: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "07.png", tmp_path / "query.png")
    command = ("embed", "photos", "--model", network, "--like", "query.png", "--top", "5")
    live = run_cli(*command, cwd=tmp_path)
    assert live.returncode == 0, live.stderr
    lines = [line.split("  ") for line in live.stdout.splitlines()]
    assert lines[0] == ["1.0000", "photos/07.png"]
    similarities = [float(similarity) for similarity, _ in lines]
    assert len(lines) == 5
    assert similarities == sorted(similarities, reverse=True)
    for name in ("features.parquet", "features.csv", "features.npy"):
        toolkit.embed(photos, tmp_path / name, network)
        again = run_cli("embed", name, *command[2:], cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert [line.split("/")[-1] for line in again.stdout.splitlines()] == [
            line.split("/")[-1] for line in live.stdout.splitlines()
        ]
    own = run_cli("embed", "photos", "--model", network, "--like", "./photos/07.png", "--top", "5", cwd=tmp_path)
    assert [line.split("  ")[1] for line in own.stdout.splitlines()][:4] == [name for _, name in lines[1:]]


def test_features_of_another_model_are_not_compared(network: Path, photos: Path, tmp_path: Path) -> None:
    toolkit.embed(photos, tmp_path / "features.npy", network)
    other = write_conv_network(tmp_path / "other.onnx", contract(labels=("a", "b", "c")))
    done = run_cli("embed", "features.npy", "--model", other, "--like", photos / "00.png", cwd=tmp_path)
    assert done.returncode == 3
    assert "another model" in done.stderr


def test_a_search_without_images_says_so(network: Path, photos: Path, tmp_path: Path, run: Cli) -> None:
    like = ("--model", network, "--like", photos / "00.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    done = run("embed", "empty", *like)
    assert (done.code, done.out) == (3, "")
    assert "empty: expected images, found none (passed over: 1 .txt)" in done.err
    (tmp_path / "empty" / "broken.jpg").write_bytes(b"")
    done = run("embed", "empty", *like)
    assert (done.code, done.out) == (6, "")
    assert "1 file compared with" in done.err
    assert "the only file could not be read" in done.err
    toolkit.embed(tmp_path / "empty", tmp_path / "features.csv", network)
    lines = (tmp_path / "features.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "features.csv").write_bytes(lines[0])
    done = run("embed", "features.csv", *like)
    assert (done.code, "features.csv: no image in it to compare with" in done.err) == (3, True)


def test_what_is_missing_is_said(network: Path, photos: Path, tmp_path: Path) -> None:
    done = run_cli("embed", photos, "--model", network, cwd=tmp_path)
    assert (done.returncode, "--out" in done.stderr) == (2, True)
    done = run_cli("embed", photos, "--model", network, "--like", photos / "below" / "broken.jpg", cwd=tmp_path)
    assert (done.returncode, "broken.jpg" in done.stderr) == (3, True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        toolkit.embed(tmp_path / "empty", tmp_path / "features.npy", network)
    assert not list(tmp_path.glob("features*"))
