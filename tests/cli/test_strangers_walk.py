"""A stranger's walk in an empty directory: look, label, act, correct, train again. Every file is accounted for."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import command_line
from support.command_line import environment, run_cli

pytestmark = pytest.mark.slow

CLASSES = ("daisy", "roses", "tulips")
TRAINED, NEW = 30, 8
"""Images of each class in the first training, and that are new."""

NOT_IMAGES = {"notes.txt": b"remember the milk", "clip.mov": b"\0\0\0\x14ftypqt  ", "data.bin": b"\1\2\3"}
FAILING = {
    "camera.CR2": (b"II*\0\x10\0\0\0CR\2\0\0\0\0\0" + bytes(64), "RAW"),
    "camera.raf": (b"FUJIFILMCCD-RAW 0201" + bytes(64), "RAW"),
    "broken.jpg": (b"\xff\xd8\xff\xe0" + bytes(40), ""),
    "empty.png": (b"", "empty"),
}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stock(folder: Path, flowers: Path) -> dict[str, str]:
    """`data/photos` with `labels.csv`, `data/new` with what a phone and a camera leave; place of a flower -> class."""
    pillow_heif = pytest.importorskip("pillow_heif")
    image = pytest.importorskip("PIL.Image")
    shown: dict[str, str] = {}
    (folder / "data/photos").mkdir(parents=True)
    (folder / "data/new").mkdir()
    table = ["file_name,label"]
    for label in CLASSES:
        for i, path in enumerate(sorted((flowers / label).glob("*.jpg"))[: TRAINED + NEW]):
            name = f"IMG_{hashlib.sha256(path.name.encode()).hexdigest()[:8]}"
            place = f"data/photos/{name}.jpg" if i < TRAINED else f"data/new/{name}.{'heic' if i == TRAINED else 'jpg'}"
            shown[place] = label
            if place.endswith("heic"):
                pillow_heif.from_pillow(image.open(path)).save(folder / place, quality=80)
            else:
                shutil.copy(path, folder / place)
            table += [f"{place},{label}"] if i < TRAINED else []
    (folder / "labels.csv").write_text("\n".join(table) + "\n")
    for name, content in [*NOT_IMAGES.items(), *((name, found[0]) for name, found in FAILING.items())]:
        (folder / "data/new" / name).write_bytes(content)
    shutil.copy(sorted((flowers / "daisy").glob("*.jpg"))[0], folder / "photo.jpg")
    return shown


def test_the_walk(
    flower_photos: Path, wheel: zipfile.ZipFile, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = stock(tmp_path, flower_photos)
    before = digests(tmp_path / "data")
    wheel.extractall(tmp_path / "installed")  # all that installing does, but for the dependencies
    monkeypatch.setattr(command_line, "ROOT", tmp_path / "installed")
    where = command_line.run_python("-c", "import toolkit; print(toolkit.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()) == tmp_path / "installed/toolkit/__init__.py"

    def toolkit(*line: str) -> subprocess.CompletedProcess[str]:
        done = run_cli(*line, cwd=tmp_path, TOOLKIT_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert digests(tmp_path / "data") == before
        return done

    first = run_cli("infer", "photo.jpg", cwd=tmp_path)  # the very first question has an answer, or a way to one
    assert first.returncode == 4
    assert "toolkit train" in first.stderr
    assert "--model imagenet" in first.stderr
    assert toolkit("infer", "photo.jpg", "--model", "imagenet").stdout.startswith("photo.jpg: ")

    toolkit("train", "data/photos", "--labels", "labels.csv", "--effort", "quick")
    trained = rows(tmp_path / "model/data.csv")
    assert Counter(row["subset"] for row in trained).total() == len(CLASSES) * TRAINED
    assert {row["label"] for row in trained} == set(CLASSES)
    toolkit("export", "model", "--onnx")
    assert toolkit("infer", "photo.jpg").stdout.startswith("photo.jpg: ")

    done = toolkit("infer", "data/new", "--out", "found.csv", "--min-confidence", "0.9", "--html", "found.html")
    assert "passed over: 1 .bin, 1 .mov, 1 .txt" in done.stderr
    found = {row["path"]: row for row in rows(tmp_path / "found.csv")}
    flowers = sorted(place for place in shown if place.startswith("data/new"))
    assert sorted(found) == sorted([*flowers, *(f"data/new/{name}" for name in FAILING)])
    for name, (_, reason) in FAILING.items():
        row = found[f"data/new/{name}"]
        assert (row["status"], row["label"]) == ("error", "")
        assert reason in row["error"]
    assert {found[place]["status"] for place in flowers} <= {"ok", "unsure"}

    toolkit("sort", "found.csv", "--into", "sorted")
    placed = Counter(path.parent.name for path in (tmp_path / "sorted").rglob("*") if path.name != "sort.csv")
    placed.pop("sorted")  # the folders themselves
    wanted = Counter(row["label"] if row["status"] == "ok" else row["status"] for row in found.values())
    assert placed == wanted

    toolkit("view", "found.csv", "--out", "view.html")
    for page in ("found.html", "view.html"):
        browser.get((tmp_path / page).as_uri())
        assert browser.find_element("id", "shown").text == f"{len(found)} of {len(found)} images"

    assert review(browser, tmp_path, shown) == 0
    assert digests(tmp_path / "data") == before
    decided = {row["file_name"]: row["label"] for row in rows(tmp_path / "corrections.csv")}
    assert decided == {place: shown[place] for place in flowers}

    done = toolkit(
        *("train", "data", "--labels", "labels.csv", "--labels", "corrections.csv", "--effort", "quick"),
        *("--out", "better"),
    )
    again = {row["path"]: row for row in rows(tmp_path / "better/data.csv")}
    used = {f"data/{place}": row["label"] for place, row in again.items() if row["subset"]}
    assert used == shown  # the HEIC ones, too
    for name in FAILING:
        assert f"left out: new/{name}" in done.stderr
    toolkit("export", "better", "--onnx")
    toolkit("infer", "data/new", "--model", "better", "--out", "found.csv", "--update")
    assert sorted(row["path"] for row in rows(tmp_path / "found.csv")) == sorted(found)


def review(browser: Any, folder: Path, shown: dict[str, str]) -> int:
    """Decide every image of `found.csv` with the keyboard, in a process as a user starts it; its exit code."""
    from selenium.webdriver.common.action_chains import ActionChains

    line = [sys.executable, "-m", "toolkit", "review", "found.csv"]
    process = subprocess.Popen(line, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        browser.get(process.stdout.readline().strip())
        n_flowers = sum(place.startswith("data/new") for place in shown)
        for n in range(n_flowers):
            path = browser.find_element("id", "current-path").text
            ActionChains(browser).send_keys(str(1 + CLASSES.index(shown[path]))).perform()
            until = time.monotonic() + 20
            while browser.find_element("id", "n-decided").text != f"{n + 1} decided" or (
                browser.find_element("id", "current-path").text == path
            ):
                assert time.monotonic() < until, browser.get_log("browser")
        assert "is decided" in browser.find_element("id", "large-none").text
        browser.find_element("id", "finish").click()
        return process.wait(20)
    finally:
        process.kill()
        process.communicate()
