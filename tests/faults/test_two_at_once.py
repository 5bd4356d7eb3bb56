"""Two runs on one output: the second ends with 7, and nothing of the first is lost."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli, run_cli
from support.two_at_once import ends_at_once

from toolkit.core.errors import LockedError
from toolkit.core.locking import lock
from toolkit.exporting.export_folder import export_folder
from toolkit.sorting import SortOptions, sort, undo
from toolkit.sorting.journal import Placement, read_journal
from toolkit.splitting.mode import Mode

MODEL = ("--model", "model.onnx")
COMMANDS: dict[str, tuple[str, ...]] = {
    "merge": ("merge", "part-1.csv", "part-2.csv", "--out", "out/merged.csv"),
    "parts": ("infer", "photos", *MODEL, "--out", "out/labels/", "--part-size", "4"),
    "adopt": ("adopt", "foreign.onnx", "--preset", "imagenet", "--labels", "labels.txt", "--out", "out/a.onnx"),
    "review": ("review", "labels.csv", "--from", "label-studio", "--file", "export.json", "--out", "out/c.csv"),
    "undo": ("sort", "--undo", "--into", "out/sorted"),
}
HELD = {
    "merge": "out/merged.csv.lock",
    "parts": "out/labels.lock",
    "adopt": "out/a.onnx.lock",
    "review": "out/c.csv.lock",
    "undo": "out/sorted.lock",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Cli) -> Path:
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "photos", 4)
    small.model(tmp_path / "model.onnx")
    small.foreign_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    (tmp_path / "export.json").write_text("[]")
    (tmp_path / "out").mkdir()
    assert run("infer", "photos", *MODEL, "--out", "labels.csv").code == 0
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_run_ends_at_once_and_changes_nothing(name: str, place: Path, run: Cli) -> None:
    if name == "merge":
        for k in (1, 2):
            assert run("infer", "photos", *MODEL, "--shard", f"{k}/2", "--out", f"part-{k}.csv").code == 0
    if name == "undo":
        assert run("sort", "labels.csv", "--into", "out/sorted").code == 0
    else:
        assert run(*COMMANDS[name]).code == 0
    ends_at_once(run, COMMANDS[name], place / "out", place / HELD[name])


def test_a_second_export_ends_at_once(tmp_path: Path) -> None:
    bundle = small.bundle(tmp_path / "model")
    with export_folder(bundle, ["model.onnx"], kit=False) as folder:
        with pytest.raises(LockedError), export_folder(bundle, ["model.onnx"], kit=False):
            pytest.fail("two exports into one bundle")
        small.model(folder / "model.onnx")
    assert (bundle / "model.onnx").is_file()


def test_several_trainings_hold_the_place_of_the_best(place: Path, run: Cli) -> None:
    """What `train --out model` holds; else one of the two would replace the bundle of the other."""
    with lock(place / "model"):
        done = run("train", "photos", "--recipe", "fashion", "--recipe", "flowers")
    assert done.code == 7, done.err
    assert not (place / "model.trials").exists()


@pytest.mark.parametrize("other", ["sort", "undo"])
def test_a_journal_is_read_under_the_lock(other: str, place: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what the other run wrote into it meanwhile would be lost, and with it where originals were moved."""
    module = importlib.import_module("toolkit.sorting.sort")
    into, originals = Path("out/sorted"), small.tree(place / "photos")
    options = SortOptions(into=into, mode=Mode.MOVE)
    sort(Path("labels.csv"), options)
    small_change = next(into.rglob("*.png"))
    if other == "sort":
        undo(into)
    codes: list[int] = []

    def meanwhile(folder: Path) -> list[Placement] | None:
        found = read_journal(folder)
        if not codes:
            line = ("labels.csv", "--mode", "move") if other == "sort" else ("--undo",)
            codes.append(run_cli("sort", *line, "--into", into, cwd=place).returncode)
        return found

    monkeypatch.setattr(module, "read_journal", meanwhile)
    sort(Path("labels.csv"), options)
    assert codes == [7]
    assert small_change.exists()
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert len(read_journal(into) or []) == 8
    assert undo(into).n_files == 8
    assert small.tree(place / "photos") == originals


def test_the_lock_of_the_working_directory_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with lock(Path()):
        assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["here.lock"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here"]
