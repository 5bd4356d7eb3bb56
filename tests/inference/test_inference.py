"""`toolkit infer` as a user meets it."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.command_line import ROOT, run_cli
from support.onnx_networks import contract, write_mean_network

from toolkit.data.walk import sample
from toolkit.images.decode import decode
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import predict
from toolkit.sessions.open_session import open_session

FAULTS = {
    "Cat/666.jpg": "empty",
    "Dog/11702.jpg": "empty",
    "Cat/10404.jpg": "truncated",
    "Dog/9500.jpg": "HTML",
}
LYING = ("Cat/10501.jpg", "Dog/10797.jpg")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_mean_network(tmp_path / "model.onnx", contract())


@pytest.fixture
def photos(pet_images: Path, tmp_path: Path) -> Path:
    """Some good images, and every fault of the archive."""
    folder = tmp_path / "photos"
    good = [f"{kind}/{n}.jpg" for kind in ("Cat", "Dog") for n in range(20)]
    for name in (*good, *FAULTS, *LYING, "Cat/Thumbs.db"):
        if (pet_images / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(pet_images / name, folder / name)
    return folder


def test_a_row_for_every_file(photos: Path, model: Path, tmp_path: Path) -> None:
    done = run_cli("infer", "photos/", "--out", "labels.csv", "--model", "model.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    rows = read(tmp_path / "labels.csv")
    assert [row["path"] for row in rows] == sorted(str(p.relative_to(tmp_path)) for p in photos.glob("*/*.jpg"))
    errors = {row["path"].removeprefix("photos/"): row for row in rows if row["status"] == "error"}
    assert errors.keys() == FAULTS.keys()
    for name, word in FAULTS.items():
        assert word in errors[name]["error"]
        assert errors[name]["label"] == errors[name]["confidence"] == ""
        assert errors[name]["truth"] == name[:3]
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(
        r"\d+ files: (Cat|Dog) \d+ · (Cat|Dog) \d+ · unsure 0 · failed 4; passed over: 1 \.db \(cpu\) -> labels\.csv",
        lines[0],
    )
    table = pd.read_csv(tmp_path / "labels.csv")
    assert len(table) == len(rows)
    assert list(table.columns) == [
        "path",
        "label",
        "confidence",
        "truth",
        "status",
        "error",
        "size",
        "mtime_ns",
        "model",
    ]


def test_rows_say_what_the_network_says(photos: Path, model: Path, tmp_path: Path) -> None:
    """Against the session fed one image at a time."""
    assert run_cli("infer", "photos", "-o", "labels.csv", "-m", "model.onnx", cwd=tmp_path).returncode == 0
    session = open_session(model)
    for row in read(tmp_path / "labels.csv"):
        path = tmp_path / row["path"]
        status = path.stat()
        assert (row["size"], row["mtime_ns"]) == (str(status.st_size), str(status.st_mtime_ns))
        if row["status"] == "ok":
            p = session.run(decode(path.read_bytes(), session.contract.preprocess)[None])[0]
            assert row["label"] == session.contract.labels[int(p.argmax())]
            assert float(row["confidence"]) == pytest.approx(p.max(), abs=2e-5)


def test_twice_gives_the_same_bytes(photos: Path, model: Path, tmp_path: Path) -> None:
    def run() -> list[bytes]:
        assert run_cli("infer", "photos", "-o", "labels.csv", "-m", "model.onnx", cwd=tmp_path).returncode == 0
        return [p.read_bytes() for p in sorted(tmp_path.glob("labels*"))]

    first = run()
    assert len(first) == 3
    assert run() == first
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        "labels.confusion.csv",
        "labels.csv",
        "labels.report.csv",
        "model.onnx",
        "photos",
    ]


def test_loads_no_tensorflow(photos: Path, model: Path, tmp_path: Path) -> None:
    """Nor anything else that one run does not need."""
    code = (
        "import sys; sys.argv[0] = 'toolkit'\n"
        "from toolkit.cli import main\n"
        "code = main()\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'matplotlib', 'rich', 'sklearn', 'pandas', 'pyarrow', 'jinja2'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "infer", "photos", "-o", "labels.csv", "-m", "model.onnx"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0 []"


def test_predict_streams_in_order(photos: Path, model: Path) -> None:
    paths = sorted(photos.glob("*/*.jpg"))
    samples = (sample(str(path), path.name) for path in paths)
    predictions = list(predict(samples, open_session(model, threads=1), InferOptions(batch_size=3, workers=2)))
    assert [p.sample.path for p in predictions] == [str(path) for path in paths]
    for p in predictions:
        if p.error:
            assert p.probabilities is None
        else:
            assert p.probabilities is not None
            assert np.isclose(p.probabilities.sum(), 1, atol=1e-5)
    assert sum(bool(p.error) for p in predictions) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing", "-m", "model.onnx"), 3, ["missing", "found nothing"]),
        (("empty", "-m", "model.onnx"), 3, ["empty", "found none"]),
        (("photos",), 4, ["model: no model there", "toolkit train"]),
        (("photos", "-m", "half"), 4, ["no model.onnx yet", "toolkit export half --onnx"]),
        (("photos", "-m", "broken.onnx"), 4, ["broken.onnx", "cannot load"]),
        (("photos", "-m", "plain.onnx"), 4, ["plain.onnx", "no toolkit contract", "toolkit adopt"]),
        (("photos", "-m", "model.onnx", "--top-k", "3"), 2, ["--top-k 3", "2 classes"]),
    ],
)
def test_wrong_use(
    photos: Path, model: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    import onnx

    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "bundle.json").write_text("{}")
    (tmp_path / "broken.onnx").write_bytes(model.read_bytes()[:300])
    plain = onnx.load(model)
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    done = run_cli("infer", *arguments, "--out", "labels.csv", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(tmp_path.glob("labels*"))
