"""The main job end to end: real photos in, labels in a CSV out, the commands as they stand in the README."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import environment, run_cli

FAULTS = {
    "666.jpg": "empty",
    "11702.jpg": "empty",
    "10404.jpg": "truncated",
    "9500.jpg": "HTML",
    "notes.jpg": "text",
}
PLANTED = {"666", "11702", "10404", "9500", "10501", "10797", "Thumbs", "12", "12 (1)", "50", "5050", "33", "3333"}
"""Stems of the files of PetImages that are no images, or the same image twice."""
MAIN_JOB = """\
toolkit split PetImages --ratio 0.9
toolkit train PetImages-split
toolkit export model --onnx
toolkit infer photos/ --out labels.csv"""


@pytest.fixture(scope="module")
def job(pet_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the four lines of the main job have been run; every one ended with exit 0.

    With every second image and all planted faults.
    """
    folder = tmp_path_factory.mktemp("job")
    for kind in ("Cat", "Dog"):
        (folder / "PetImages" / kind).mkdir(parents=True)
        for i, path in enumerate(sorted((pet_images / kind).iterdir())):
            if i % 2 == 0 or path.stem in PLANTED:
                shutil.copy2(path, folder / "PetImages" / kind)
    photos = folder / "photos"
    for kind in ("Cat", "Dog"):
        (photos / kind).mkdir(parents=True)
        for path in sorted((pet_images / kind).glob("1*.jpg"))[:30]:
            shutil.copy2(path, photos / kind)
    for name in ("Cat/666.jpg", "Cat/10404.jpg", "Dog/9500.jpg", "Cat/10501.jpg", "Dog/10797.jpg", "Cat/Thumbs.db"):
        shutil.copy2(pet_images / name, photos)
    (photos / "notes.jpg").write_text("no image")
    (photos / "unicode 고양이 é.jpg").write_bytes((pet_images / "Cat/1.jpg").read_bytes())
    for line in MAIN_JOB.splitlines():
        done = run_cli(*line.split()[1:], cwd=folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_split_is_a_tree_of_whole_images(job: Path) -> None:
    split = job / "PetImages-split"
    counts = {
        (part, kind): len(list((split / part / kind).iterdir()))
        for part in ("train", "validation")
        for kind in ("Cat", "Dog")
    }
    for kind in ("Cat", "Dog"):
        n = counts["train", kind] + counts["validation", kind]
        assert counts["train", kind] == n * 9 // 10
    listed = rows(split / "split.csv")
    assert len(listed) == sum(path.is_file() for path in (job / "PetImages").rglob("*")) > 600
    left_out = {row["path"]: row["reason"] for row in listed if not row["subset"]}
    assert any("Thumbs.db" in path for path in left_out)
    assert all(left_out.values())


@pytest.mark.slow
def test_one_row_per_file_and_the_faults_say_what_is_wrong(job: Path) -> None:
    found = rows(job / "labels.csv")
    images = [p for p in (job / "photos").rglob("*") if p.is_file() and p.suffix == ".jpg"]
    assert sorted(row["path"] for row in found) == sorted(p.relative_to(job).as_posix() for p in images)
    for row in found:
        name = Path(row["path"]).name
        if name in FAULTS:
            assert row["status"] == "error"
            assert FAULTS[name] in row["error"]
            assert not row["label"]
            assert not row["confidence"]
        else:
            assert row["status"] == "ok", row
            assert row["label"] in ("Cat", "Dog")
            assert 0.5 <= float(row["confidence"]) <= 1
    assert {row["truth"] for row in found} == {"Cat", "Dog", ""}


@pytest.mark.slow
def test_pandas_reads_it(job: Path) -> None:
    frame = pd.read_csv(job / "labels.csv")
    assert len(frame) == len(rows(job / "labels.csv"))
    faulty = [row for row in rows(job / "labels.csv") if Path(row["path"]).name in FAULTS]
    assert (frame.status == "error").sum() == len(faulty) >= len(FAULTS)


@pytest.mark.slow
def test_report_and_confusion_lie_beside_the_labels(job: Path) -> None:
    labelled = [row for row in rows(job / "labels.csv") if row["truth"] and row["status"] == "ok"]
    confusion = rows(job / "labels.confusion.csv")
    counted = sum(int(value) for row in confusion for key, value in row.items() if key in ("Cat", "Dog"))
    assert counted == len(labelled) > 50
    assert (job / "labels.report.csv").is_file()


@pytest.mark.slow
def test_the_lines_run_again_and_give_the_same_bytes(job: Path) -> None:
    before = (job / "labels.csv").read_bytes()
    split_before = sorted((p.as_posix(), p.stat().st_mtime_ns) for p in (job / "PetImages-split").rglob("*"))
    for line in (MAIN_JOB.splitlines()[i] for i in (0, 2, 3)):
        done = run_cli(*line.split()[1:], cwd=job)
        assert done.returncode == 0, done.stderr
        if "split" in line:
            assert "already" in done.stderr
    assert sorted((p.as_posix(), p.stat().st_mtime_ns) for p in (job / "PetImages-split").rglob("*")) == split_before
    after = (job / "labels.csv").read_bytes()
    # Exporting again may give the file another fingerprint only if the weights differ; they do not.
    assert after == before


@pytest.mark.slow
def test_onnx_and_keras_agree_on_real_photos(job: Path) -> None:
    script = """
import json, pathlib, sys
import numpy as np
import keras
from toolkit.model_files.contract_io import read_contract
from toolkit.images.decode import decode
from toolkit.sessions.open_session import open_session
contract = read_contract(pathlib.Path("model/model.onnx"))
paths = sorted(pathlib.Path("PetImages-split/validation").rglob("*.jpg"))
images = np.stack([decode(p.read_bytes(), contract.preprocess) for p in paths])
network = keras.models.load_model("model/model.keras")
logits = network(images.astype("float32"), training=False)
keras_probabilities = np.asarray(keras.ops.softmax(logits))
onnx_probabilities = open_session(pathlib.Path("model/model.onnx"), device="cpu").run(images)
difference = float(np.abs(keras_probabilities - onnx_probabilities).max())
top1 = int((keras_probabilities.argmax(1) != onnx_probabilities.argmax(1)).sum())
print(json.dumps([len(paths), difference, top1, list(contract.labels)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=job, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    n, difference, changed, labels = json.loads(done.stdout.splitlines()[-1])
    assert n >= 50
    assert difference <= 1e-4
    assert changed == 0
    assert labels == ["Cat", "Dog"]


@pytest.mark.slow
def test_infer_loads_no_tensorflow(job: Path) -> None:
    script = (
        "import sys; sys.argv = ['toolkit', 'infer', 'photos/Cat', '--out', 'again.csv']\n"
        "from toolkit.cli import main\n"
        "code = main()\n"
        "heavy = {'tensorflow', 'keras', 'tf2onnx', 'onnx', 'matplotlib'}\n"
        "sys.exit(code or ' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=job, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_from_python_the_same_labels(job: Path) -> None:
    script = """
import csv, pathlib
import toolkit
paths = sorted(pathlib.Path("photos/Cat").iterdir())
found = toolkit.load("model").predict(paths)
best = ["" if error else found.labels[i] for i, error in zip(found.probabilities.argmax(axis=1), found.errors)]
assert best.count("") == 1
rows = {row["path"]: row["label"] for row in csv.DictReader(open("labels.csv", encoding="utf-8"))}
assert [rows[p.as_posix()] for p in paths] == best
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, cwd=job, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_uses_end_with_their_code_and_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "no-model.onnx").write_bytes(b"not a model")
    (tmp_path / "a-file").write_text("x")
    cases = [
        (("split", "missing"), 3, "missing"),
        (("split", "empty"), 3, "empty"),
        (("train", "missing", "--recipe", "fashion"), 3, "missing"),
        (("train", "photos", "--recipe", "no-such-recipe"), 4, "no-such-recipe"),
        (("export", "model", "--onnx"), 4, "toolkit train"),
        (("infer", "photos", "--out", "labels.csv"), 4, "toolkit export"),
        (("infer", "photos", "--out", "labels.csv", "--model", "no-model.onnx"), 4, "no-model.onnx"),
        (("infer", "photos", "--out", "labels.what"), 2, ".csv"),
        (("inspect", "no-model.onnx"), 4, "no-model.onnx"),
        (("inspect", "missing.onnx"), 4, "missing.onnx"),
    ]
    for arguments, code, words in cases:
        done = run_cli(*arguments, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{said}"
        assert words in said, f"{arguments}: {said}"
        assert "Traceback" not in said
        assert "next:" in said or code == 2, said


@pytest.mark.slow
def test_wrong_inputs_and_outputs_of_infer(job: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    model = str(job / "model")
    photos = str(job / "photos")
    cases = [
        (("infer", "missing", "--out", "labels.csv", "--model", model), 3),
        (("infer", "empty", "--out", "labels.csv", "--model", model), 3),
        (("infer", photos, "--out", "a-file/labels.csv", "--model", model), 8),
        (("infer", photos, "--out", "/proc/labels.csv", "--model", model), 8),
        (("infer", photos, "--out", "labels.parquet", "--model", model), 0),
    ]
    for arguments, code in cases:
        done = run_cli(*arguments, cwd=tmp_path)
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [(("train", "photos", "--recipe", "fashion"), "tensorflow", "train"), (("demo", "d"), "tensorflow", "train")],
)
def test_a_missing_extra_says_how_to_install_it(
    arguments: tuple[str, ...], package: str, extra: str, tmp_path: Path, pet_images: Path
) -> None:
    hidden = tmp_path / "hidden" / package
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name={package!r})")
    for kind in ("Cat", "Dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for image in sorted((pet_images / kind).glob("1*.jpg"))[:10]:
            shutil.copy(image, tmp_path / "photos" / kind)
    python_path = f"{tmp_path / 'hidden'}:{environment()['PYTHONPATH']}"
    done = run_cli(*arguments, cwd=tmp_path, PYTHONPATH=python_path)
    assert done.returncode == 8, done.stderr
    assert f'pip install "toolkit-images[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
