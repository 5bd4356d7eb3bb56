"""sort, its undo and review, killed before each change to the disk: no file is lost, the next run completes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import small
from support.crash import crash_points

from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.reviewing.corrections import Corrections, read_corrections
from toolkit.sorting.sort import SortOptions, sort, undo
from toolkit.splitting.mode import Mode

Record = Callable[[str, object], None]


def strays(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".*") if not path.name.endswith(".lock")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of six images; `prepare` brings them back."""
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "kept" / "photos", 3)
    shutil.copytree(tmp_path / "kept" / "photos", tmp_path / "work" / "photos")
    model = small.model(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path / "work")
    infer(Inputs(paths=("photos",)), tmp_path / "labels.csv", model)
    return tmp_path


def prepare(place: Path) -> None:
    for entry in (place / "work").iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.copytree(place / "kept" / "photos", place / "work" / "photos", copy_function=shutil.copy2)


def contents(root: Path) -> list[bytes]:
    return sorted({path.read_bytes() for path in root.rglob("*.png")})


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_sort(record_property: Record, mode: Mode, place: Path) -> None:
    work, into = place / "work", Path("sorted")
    options = SortOptions(into=into, mode=mode)
    every = contents(work)
    sort(place / "labels.csv", options)
    expected = sorted(path.relative_to(into).as_posix() for path in into.rglob("*.png"))
    assert len(expected) == 6
    points = 0
    for points in crash_points(lambda: sort(place / "labels.csv", options), lambda: prepare(place)):
        assert contents(work) == every, f"lost at {points}"
        again = sort(place / "labels.csv", options)
        assert again.n_placed + again.n_there == 6
        assert sorted(path.relative_to(into).as_posix() for path in into.rglob("*.png")) == expected
        assert not strays(work), f"left after {points}"
        assert undo(into).n_files == 6
        assert small.tree(work / "photos") == small.tree(place / "kept" / "photos"), f"not undone after {points}"
    record_property("cases", points)
    assert points > 10


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_undo(record_property: Record, mode: Mode, place: Path) -> None:
    work, into = place / "work", Path("sorted")
    options = SortOptions(into=into, mode=mode)
    every = contents(work)

    def sorted_again() -> None:
        prepare(place)
        sort(place / "labels.csv", options)

    points = 0
    for points in crash_points(lambda: undo(into), sorted_again):
        assert contents(work) == every, f"lost at {points}"
        if (into / "sort.csv").exists():  # else all is taken back, but for the empty folder
            undo(into)
        assert small.tree(work / "photos") == small.tree(place / "kept" / "photos"), f"not undone after {points}"
        assert contents(into) == []
        assert not strays(work), f"left after {points}"
    record_property("cases", points)
    assert points > 8


def test_review(record_property: Record, tmp_path: Path) -> None:
    root = tmp_path / "work"
    path = root / "corrections.csv"

    def earlier() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        Corrections(path).decide("photos/0.png", "Cat", "Dog")

    def decide() -> None:
        corrections = Corrections(path)
        corrections.decide("photos/1.png", "Dog", "Cat")
        corrections.take_back("photos/0.png")

    points = 0
    for points in crash_points(decide, earlier):
        names = [found.file_name for found in read_corrections(path)]
        assert names in (["photos/0.png"], ["photos/0.png", "photos/1.png"], ["photos/1.png"])
        decide()
        assert [found.file_name for found in read_corrections(path)] == ["photos/1.png"]
        assert [entry.name for entry in root.iterdir()] == ["corrections.csv"], f"left after {points}"
    record_property("cases", points)
    assert points > 3
