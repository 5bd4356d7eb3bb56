"""One folder that cannot be read ends nothing: it is named, all else is done, and the exit code is not 0."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli, environment

from toolkit.data.walk import is_unreadable_folder, walk

COMMANDS = {
    "infer": ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
    "evaluate": ["evaluate", "photos", "--model", "model.onnx", "--out", "reports"],
    "check": ["check", "photos", "--out", "findings.csv"],
    "split": ["split", "photos", "--out", "parts"],
    "embed": ["embed", "photos", "--model", "model.onnx", "--out", "features.csv"],
}
TABLES = {
    "infer": "labels.csv",
    "evaluate": "reports/predictions.csv",
    "check": "findings.csv",
    "split": "parts/split.csv",
    "embed": "features.csv",
}


@pytest.fixture
def place(tmp_path: Path, no_plots: None) -> Path:
    small.folders(tmp_path / "photos", 5)
    small.model(tmp_path / "model.onnx")
    return tmp_path


def link_to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")


def two_links_in_a_circle(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("make", [link_to_itself, two_links_in_a_circle])
def test_a_link_to_itself_is_named(command: str, make: object, place: Path, run: Cli) -> None:
    assert callable(make)
    make(place / "photos" / "Cat")
    done = run(*COMMANDS[command])
    assert done.code == 6, done.err
    assert "could not be read" in done.err
    with (place / TABLES[command]).open(newline="", encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert [path for path in paths if path.endswith("/")]
    if command != "check":
        assert len([path for path in paths if path.endswith(".png")]) == 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_vanishes_while_it_is_walked(
    command: str, place: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "photos" / "Cat" / "gone").mkdir()
    scandir = os.scandir

    def vanishing(path: str) -> object:
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    done = run(*COMMANDS[command])
    assert done.code == 6, done.err
    assert "gone/" in done.err


@pytest.mark.parametrize("command", ["infer", "evaluate", "check"])
def test_trees_deeper_than_python_recurses(command: str, place: Path, run: Cli) -> None:
    here = os.open(place / "photos" / "Cat", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    handle = os.open("deep.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(handle, small.png(7))
    os.close(handle)
    os.close(here)
    done = run(*COMMANDS[command])
    subprocess.run(["rm", "-rf", str(place / "photos")], check=True)  # pytest's own removal recurses
    assert done.code == 0, done.err


def test_split_leaves_out_what_lies_too_deep(place: Path, run: Cli) -> None:
    deep = place / "photos" / "Cat" / Path(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "deep.png").write_bytes(small.png(7))
    done = run(*COMMANDS["split"])
    assert done.code == 0, done.err
    with (place / "parts" / "split.csv").open(newline="", encoding="utf-8") as file:
        assert [row["reason"] for row in csv.DictReader(file) if row["path"].endswith("deep.png")] == ["refused"]


def test_links_back_up_are_not_followed(tmp_path: Path) -> None:
    small.folders(tmp_path / "photos", 1)
    (tmp_path / "photos" / "Cat" / "up").symlink_to("..")
    (tmp_path / "photos" / "Dog" / "cats").symlink_to("../Cat")
    assert list(walk(str(tmp_path / "photos"))) == ["Cat/0.png", "Dog/0.png", "Dog/cats/0.png"]


AS_NOBODY = """
import os, sys
from toolkit.cli import main
sys.argv = ["toolkit", *sys.argv[1:-1], "warm.csv"]  # another user may not read this Python: it is loaded before
main()
sys.argv[-1] = "out/labels.csv"
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(main())
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_permission_denied_as_another_user(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("shared")
    for folder in (place, *list(place.parents)[:3]):
        folder.chmod(0o755)
    small.folders(place / "photos", 3)
    small.model(place / "model.onnx")
    forbidden = place / ("photos/Cat/forbidden" if kind == "folder" else "elsewhere")
    if kind == "file":
        (place / "photos" / "Cat" / "0.png").chmod(0)
    else:
        (forbidden / "inside").mkdir(parents=True)
        (forbidden / "inside" / "x.png").write_bytes(small.png(1))
        if kind == "link":
            (place / "photos" / "Cat" / "link").symlink_to(forbidden / "inside")
        forbidden.chmod(0)
    out = place / "out"
    out.mkdir()
    out.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "infer", "photos", "--model", "model.onnx", "--out", "out/labels.csv"],
        cwd=place,
        env=environment(HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    if forbidden.exists():
        forbidden.chmod(0o755)
    assert done.returncode == (0 if kind == "file" else 6), done.stderr
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows if row["status"] == "error"] == ["cannot be read: Permission denied"]
    assert len(rows) == (6 if kind == "file" else 7)


def test_an_unreadable_folder_is_told_from_a_file() -> None:
    assert is_unreadable_folder("Cat" + os.sep)
    assert not is_unreadable_folder("Cat")
