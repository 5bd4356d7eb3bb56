"""A disk that is full, at each of several points of each command: it is said, nothing whole is damaged, the next run
completes, and nothing piles up."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli, environment
from support.disks import FILLER, leave, mounted

from toolkit.core.files import atomic_write

MODEL = ("--model", "model.onnx")
SPLIT = ("--ratio", "0.5", "--update")

COMMANDS: dict[str, tuple[str, ...]] = {
    "split copy": ("split", "photos", "--out", "disk/out", *SPLIT),
    "split move": ("split", "photos", "--out", "disk/out", "--mode", "move", *SPLIT),
    "split symlink": ("split", "photos", "--out", "disk/out", "--mode", "symlink", *SPLIT),
    "split hardlink": ("split", "disk/photos", "--out", "disk/out", "--mode", "hardlink", *SPLIT),
    "check": ("check", "photos", "--out", "disk/out.csv", "--html", "disk/out.html", "--dark", "255"),
    "infer csv": ("infer", "photos", *MODEL, "--out", "disk/out.csv", "--probabilities"),
    "infer jsonl": ("infer", "photos", *MODEL, "--out", "disk/out.jsonl", "--probabilities"),
    "infer parquet": ("infer", "photos", *MODEL, "--out", "disk/out.parquet", "--probabilities"),
    "infer page": ("infer", "photos", *MODEL, "--out", "disk/out.csv", "--html", "disk/out.html"),
    "evaluate": ("evaluate", "photos", *MODEL, "--out", "disk/out"),
    "compare": ("evaluate", "photos", *MODEL, "--model", "other.onnx", "--out", "disk/out"),
    "adopt": ("adopt", "foreign.onnx", "--preset", "imagenet", "--labels", "labels.txt", "--out", "disk/out.onnx"),
    "embed npy": ("embed", "photos", *MODEL, "--out", "disk/out.npy"),
    "embed csv": ("embed", "photos", *MODEL, "--out", "disk/out.csv"),
    "sort copy": ("sort", "labels.csv", "--into", "disk/out"),
    "sort move": ("sort", "labels.csv", "--into", "disk/out", "--mode", "move"),
    "view": ("view", "labels.csv", "--out", "disk/out.html"),
    "infer parts": ("infer", "photos", *MODEL, "--out", "disk/out/", "--part-size", "8"),
    "merge": ("merge", "part-1.csv", "part-2.csv", "--out", "disk/out.csv"),
    "tasks": ("review", "labels.csv", "--to", "label-studio", "--file", "disk/out.json"),
}
NEW_IMAGES = 24


@pytest.fixture
def place(tmp_path: Path, no_plots: None) -> Path:
    small.model(tmp_path / "model.onnx")
    small.model(tmp_path / "other.onnx", seed=5)
    small.foreign_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    return tmp_path


def begin(place: Path, run: Cli, command: tuple[str, ...]) -> dict[str, bytes | str]:
    """An earlier run on a disk with room, then more images; what is on the disk after the earlier run."""
    for folder in ("photos", "disk/photos"):
        shutil.rmtree(place / folder, ignore_errors=True)
        small.folders(place / folder, 2)
    table = ("infer", "photos", *MODEL, "--out", "labels.csv")
    assert run(*table, "--force").code == 0
    shards(run, command)
    assert run(*command).code == 0
    old = small.tree(place / "disk")
    for i in range(NEW_IMAGES):
        for folder in ("photos", "disk/photos"):
            for label in small.LABELS:
                (place / folder / label).mkdir(exist_ok=True)  # a move may have emptied and removed it
            path = place / folder / small.LABELS[i % 2] / f"new {i}.png"
            path.write_bytes(small.png(1000 + i))
    if command[0] in ("sort", "view", "review"):
        assert run(*table, "--force").code == 0
    shards(run, command)
    return {name: data for name, data in old.items() if not name.startswith("photos")}


def shards(run: Cli, command: tuple[str, ...]) -> None:
    """The parts that are merged."""
    for k in (1, 2) if command[0] == "merge" else ():
        assert run("infer", "photos", *MODEL, "--shard", f"{k}/2", "--out", f"part-{k}.csv", "--force").code == 0


def images(place: Path) -> set[bytes]:
    """The contents of all images, wherever they are now."""
    return {path.read_bytes() for path in place.rglob("*.png") if path.is_file()}


def rubbish(root: Path) -> list[str]:
    names = (path.name for path in root.rglob("*"))
    return [n for n in names if n.startswith(".") or n.endswith((".partial", ".tmp", ".lock"))]


def whole(place: Path, old: dict[str, bytes | str], name: str) -> None:
    """Nothing that was whole is damaged; what is continued may have more, and another journal."""
    found = small.tree(place / "disk")
    if name == "infer page" and "out.csv.partial" not in found:
        del old["out.csv"]  # the new one was whole before the page was begun
    if name == "infer parts":  # they are replaced one by one
        assert set(old) - set(found) <= {"out/_manifest.json"}
        return
    for path, content in old.items():
        if path.endswith(("split.csv", "split.json", "sort.csv")):
            assert path in found
        elif path.endswith((".report.csv", ".confusion.csv")):
            assert found[path]  # each is whole in itself; the next run writes those of its table
        else:
            assert found[path] == content, f"{path} is not what it was"


def attempt(place: Path, run: Cli, name: str, hindered: Callable[[], object]) -> int:
    """Run under a hindrance, see that nothing is lost, then run without it. The exit code of the first run."""
    command, disk = COMMANDS[name], place / "disk"
    old = begin(place, run, command)
    before = images(place)
    with lifted(hindered, disk):
        done = run(*command)
    assert done.code in (0, 8), done.err
    assert images(place) >= before
    if done.code:
        assert "bug" not in done.err
        assert "disk/" in done.err, f"no path in: {done.err}"
        whole(place, old, name)
    again = run(*command)
    assert again.code == 0, again.err
    assert images(place) >= before
    assert not rubbish(disk), rubbish(disk)
    return done.code


@contextmanager
def lifted(hindrance: Callable[[], object], disk: Path) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    hindrance()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (disk / FILLER).unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(record_property: Callable[[str, object], None], name: str, place: Path, run: Cli) -> None:
    tried = 0
    for free in (0, 1, 2, 3, 4, 6, 9, 14, 24, 48, 96, 192, 400):
        with mounted(place / "disk", "4m") as disk:
            code = attempt(place, run, name, partial(leave, disk, free * 4096))
        tried += 1
        if code == 0:
            break
    record_property("cases", tried)
    assert tried > 1, "it never was full"
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in COMMANDS if n.split()[-1] not in ("symlink", "hardlink", "parts")])
def test_a_limit_of_the_size_of_files(
    record_property: Callable[[str, object], None], name: str, place: Path, run: Cli
) -> None:
    """As a quota is: some files still fit, a larger one does not, in the middle of writing it."""
    limits = (1_200, 3_000, 8_000, 40_000)
    (place / "disk").mkdir()
    codes = []
    for limit in limits:
        shutil.rmtree(place / "disk")
        (place / "disk").mkdir()
        limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        codes.append(attempt(place, run, name, limited))
    record_property("cases", len(limits))
    assert codes[0] == 8


def test_the_exit_code_holds_where_the_log_is_on_the_full_disk(place: Path) -> None:
    small.folders(place / "photos")
    with mounted(place / "disk", "64k") as disk, (disk / "log").open("w") as log:
        leave(disk, 0)
        command = [sys.executable, "-m", "toolkit", *COMMANDS["infer csv"]]
        done = subprocess.run(command, cwd=place, env=environment(), stderr=log, check=False)
    assert done.returncode == 8


@pytest.mark.parametrize("number", ["EDQUOT", "ENOSPC", "EIO"])
def test_an_exceeded_quota_names_the_file(number: str, tmp_path: Path) -> None:
    error = OSError(getattr(errno, number), "refused")
    with pytest.raises(OSError, match=r"labels\.csv"), atomic_write(tmp_path / "labels.csv"):
        raise error
    assert list(tmp_path.iterdir()) == []
