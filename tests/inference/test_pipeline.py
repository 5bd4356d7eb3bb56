"""Files that change or go away while they are read."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.onnx_networks import contract, write_mean_network

from toolkit.data import read as guarded
from toolkit.data.read import ReadError, read
from toolkit.data.walk import sample
from toolkit.images.spec import Colour
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs

DIGITS = tuple("0123456789")


@pytest.fixture
def two(fashion_images: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two images of different sizes."""
    found = sorted((fashion_images / "test" / "0").iterdir())[:20]
    first, second = min(found, key=os.path.getsize), max(found, key=os.path.getsize)
    assert os.path.getsize(first) < os.path.getsize(second)
    return Path(shutil.copy2(first, tmp_path / "first.png")), Path(shutil.copy2(second, tmp_path / "second.png"))


def before_each_read(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], times: int) -> None:
    """Call `action` after a file was opened and looked at, before its bytes are taken."""
    real, left = guarded._read_all, [times]

    def read_all(handle: int, expected: int) -> bytes:
        if left[0]:
            left[0] -= 1
            action()
        return real(handle, expected)

    monkeypatch.setattr(guarded, "_read_all", read_all)


def test_what_is_read_belongs_to_its_size_and_time(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = two
    content = other.read_bytes()
    before = sample(str(path), "a")

    def replace() -> None:
        path.write_bytes(content)

    before_each_read(monkeypatch, replace, 1)
    after, data = read(before)
    assert data == content
    assert (after.size, after.mtime_ns) == (len(content), path.stat().st_mtime_ns)
    assert after != before


def test_a_file_that_does_not_stop_changing(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = two[0]

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"x")

    before_each_read(monkeypatch, grow, 100)
    with pytest.raises(ReadError, match="changed again and again"):
        read(sample(str(path), "a"))


def test_a_file_that_goes_away(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is open already is read to its end; one that is not open yet cannot be."""
    path, other = two
    content = path.read_bytes()
    before_each_read(monkeypatch, path.unlink, 1)
    assert read(sample(str(path), "a"))[1] == content
    gone = sample(str(other), "b")
    other.unlink()
    with pytest.raises(ReadError, match="No such file"):
        read(gone)


WRITER = """
import sys
path, contents = sys.argv[1], [open(name, "rb").read() for name in sys.argv[2:]]
print("ready", flush=True)
while True:
    for content in contents:
        with open(path, "wb", buffering=0) as file:
            file.write(content[:100])
            file.write(content[100:])
"""


def test_another_process_writes_all_the_time(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Every row is an error, or the label, size and time of one of the two contents: never of a mixture."""
    model = write_mean_network(tmp_path / "model.onnx", contract(DIGITS, 28, Colour.GREY))
    changing = tmp_path / "changing.png"
    changing.write_bytes(two[0].read_bytes())
    infer(Inputs(paths=tuple(map(str, two))), tmp_path / "still.csv", model)
    with (tmp_path / "still.csv").open(newline="") as file:
        expected = {row["size"]: row for row in csv.DictReader(file)}
    assert len(expected) == 2
    writer = subprocess.Popen([sys.executable, "-c", WRITER, changing, *two], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        links = tmp_path / "links"
        links.mkdir()
        for number in range(2000):  # a path that is given twice has one row
            (links / f"{number}.png").symlink_to(changing)
        result = infer(Inputs(paths=(str(links),)), tmp_path / "labels.csv", model)
    finally:
        writer.kill()
        writer.communicate()
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result.n_files == 2000
    for row in rows:
        if row["status"] == "ok":
            still = expected[row["size"]]
            assert row["label"] == still["label"]  # another batch size may change the last digit
            assert float(row["confidence"]) == pytest.approx(float(still["confidence"]), abs=2e-6)
        else:
            assert row["status"] == "error"
            assert row["error"]
