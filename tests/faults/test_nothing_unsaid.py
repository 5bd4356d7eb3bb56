"""Nothing is skipped unseen: every command counts what it passed over by suffix, and reads what it shows with care."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli

from toolkit.core.errors import InputError
from toolkit.core.progress import SilentProgress
from toolkit.data.thumbnail import thumbnail
from toolkit.training.data.dataset import find_dataset


@pytest.fixture
def photos(tmp_path: Path, no_plots: None) -> Path:
    """Images, and five files that are none."""
    root = small.folders(tmp_path / "photos", 6)
    for name in ("Cat/a.txt", "Cat/b.TXT", "Dog/c.mov", "Dog/Makefile", "Dog/d.txt"):
        (root / name).write_text("no image")
    small.model(tmp_path / "model.onnx")
    return root


COUNTED = "3 .txt, 1 without a suffix, 1 .mov"


every_command = pytest.mark.parametrize(
    "command",
    [
        ["check", "photos"],
        ["split", "photos", "--out", "parts"],
        ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
        ["evaluate", "photos", "--model", "model.onnx", "--out", "reports"],
        ["embed", "photos", "--model", "model.onnx", "--out", "features.npy"],
    ],
    ids=lambda command: command[0],
)


def hide(photos: Path) -> None:
    """Four hidden files, one of them in a class folder, and a hidden link that leads to everything."""
    for name in ("Cat/._0.png", ".DS_Store", ".cache/deep/x.png", "__MACOSX/Cat/y.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(small.png(99))
    (photos / ".away").symlink_to("/")


@every_command
def test_hidden_files_are_counted_and_never_labelled(command: list[str], photos: Path, run: Cli) -> None:
    hide(photos)
    done = run(*command)
    assert done.code == 0, done.err
    counted = "hidden: 5 (hidden files)" in done.out if command[0] == "check" else "5 hidden" in done.err
    assert counted, done.out + done.err
    if command[0] == "infer":
        assert "passed over: 3 .txt, 1 without a suffix, 1 .mov, 5 hidden" in done.err
        assert len((photos.parent / "labels.csv").read_text().splitlines()) == 1 + 12
    if command[0] == "evaluate":
        assert json.loads((photos.parent / "reports" / "metrics.json").read_text())["data"]["passed_over_hidden"] == 5


def test_train_counts_hidden_files_whatever_gives_the_labels(photos: Path) -> None:
    hide(photos)
    for _ in ("folders", "a table"):
        progress = Listening()
        dataset = find_dataset(photos, progress=progress)
        assert any(text.endswith("5 hidden") for text in progress.heard), progress.heard
        assert not any(".cache" in sample.path or "._" in sample.path for sample in dataset.samples)
        (photos / "metadata.csv").write_text("file_name,label\nCat/0.png,a\nDog/0.png,b\n")


@every_command
def test_what_is_no_image_is_counted_by_suffix(command: list[str], photos: Path, run: Cli) -> None:
    done = run(*command)
    assert done.code == 0, done.err
    assert COUNTED in done.err
    if command[0] == "evaluate":
        saved = json.loads((photos.parent / "reports" / "metrics.json").read_text())["data"]
        assert saved["passed_over"] == 5
        assert saved["passed_over_suffixes"] == {"": 1, ".mov": 1, ".txt": 3}
        assert COUNTED in (photos.parent / "reports" / "report.html").read_text()


class Listening(SilentProgress):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def line(self, text: str) -> None:
        self.heard.append(text)

    warn = line


def test_check_and_split_name_images_in_no_class_folder(photos: Path, run: Cli) -> None:
    (photos / "loose.png").write_bytes(small.png(1))
    (photos / "IMG_1").write_bytes(small.png(2))
    (photos / "README.md").write_text("mine")
    warning = "warning: 2 images lie in no class folder of photos, such as IMG_1\n"
    done = run("check", "photos")
    assert done.err.startswith(warning)
    assert "no_class: 2 " in done.out
    assert "(not images: 3 .txt, 1 without a suffix, 1 .md, 1 .mov)" in done.err
    done = run("split", "photos", "--out", "parts")
    assert done.err.startswith(warning)
    assert "left out 8 (2 no_class, 6 not_an_image: 3 .txt, 1 without a suffix, 1 .md, 1 .mov)" in done.err
    rows = "".join(f"{label}/{i}.png,{label}\n" for label in ("Cat", "Dog") for i in "01")
    (photos / "labels.csv").write_text(f"file_name,label\n{rows}")
    done = run("check", "photos", "--labels", "photos/labels.csv")
    assert done.err.startswith("warning: 10 images have no label in labels.csv, such as Cat/2.png\n")


@pytest.mark.parametrize("command", ["check", "split", "train", "evaluate"])
def test_images_without_class_folders_are_told_of_tables(command: str, photos: Path, run: Cli) -> None:
    model = ["--model", "model.onnx"] if command == "evaluate" else []
    done = run(command, (photos / "Cat").rename(photos.parent / "flat"), *model)
    assert done.code == 3
    assert "a table with the columns file_name,label: --labels labels.csv, or a metadata.csv in the folder" in done.err
    if command != "evaluate":
        assert "found images: is this one of the classes?\n  next: if so, give the folder around it, " in done.err


def test_train_counts_them_too_and_names_images_in_no_class_folder(photos: Path) -> None:
    (photos / "loose.png").write_bytes(small.png(1))
    (photos / "README.md").write_text("mine")
    progress = Listening()
    find_dataset(photos, progress=progress)
    assert progress.heard == [
        f"1 image lies in no class folder of {photos}, such as loose.png",
        "passed over: 3 .txt, 1 without a suffix, 1 .md, 1 .mov",
    ]
    (photos / "metadata.csv").write_text("file_name,label\nCat/0.png,a\nDog/0.png,b\n")
    progress = Listening()
    find_dataset(photos, progress=progress)
    assert "passed over: 3 .txt, 1 without a suffix, 1 .md, 1 .mov" in progress.heard


def test_strict_says_the_same_in_every_command(photos: Path, run: Cli) -> None:
    (photos / "Owl").mkdir()
    for command in (["check", "photos"], ["split", "photos", "--out", "parts"]):
        warned = run(*command)
        assert warned.code == 0, warned.err
        assert "class Owl has no images" in warned.err
    shutil.rmtree(photos.parent / "parts")
    for name in ("Cat/a.txt", "Cat/b.TXT", "Dog/c.mov", "Dog/Makefile", "Dog/d.txt"):
        (photos / name).unlink()  # split --strict would name them
    for command in (["check", "photos"], ["split", "photos", "--out", "parts"]):
        refused = run(*command, "--strict")
        assert refused.code == 3, refused.err
        assert "class Owl has no images" in refused.err
    with pytest.raises(InputError, match="class Owl has no images"):
        find_dataset(photos, strict=True)
    assert not (photos.parent / "parts").exists()


def test_a_thumbnail_is_read_with_care(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(5 << 30)
    (tmp_path / "whole.png").write_bytes(small.png(1))
    names = ("pipe.png", "zeros.png", "huge.png", "missing.png", "whole.png")
    assert [thumbnail(tmp_path / name) is None for name in names] == [True, True, True, True, False]


def test_pages_and_sorts_of_what_became_a_pipe_do_not_wait(photos: Path, run: Cli) -> None:
    assert run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv").code == 0
    (photos / "Cat" / "0.png").unlink()
    os.mkfifo(photos / "Cat" / "0.png")
    done = run("view", "labels.csv")
    assert done.code == 0, done.err
    assert "1 without a thumbnail" in done.err
    for mode in ("copy", "move", "hardlink", "symlink"):
        done = run("sort", "labels.csv", "--into", mode, "--mode", mode)
        assert done.code == 6, done.err
        assert "not placed: photos/Cat/0.png: expected a file" in done.err
        assert f"error: {mode}: 1 file of the table could not be placed; everything else is done" in done.err
        assert run("sort", "--undo", "--into", mode).code == 0
