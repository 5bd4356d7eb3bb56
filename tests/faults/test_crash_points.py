"""Killed before each change to the disk: what was whole stays whole, the next run completes, nothing piles up."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import small
from support.crash import crash_points

from toolkit.checking.check import check
from toolkit.checking.outputs import outputs
from toolkit.core.files import atomic_folder, atomic_write
from toolkit.evaluation.report import evaluate
from toolkit.exporting.export_folder import export_folder
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.splitting.mode import Mode
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.split import split

Record = Callable[[str, object], None]


def rubbish(root: Path) -> list[str]:
    """What only a run under way may leave; the file of a lock may stay where its process was killed."""
    names = (path.name for path in root.rglob("*"))
    return [n for n in names if (n.startswith(".") and not n.endswith(".lock")) or n.endswith((".partial", ".tmp"))]


def fresh(root: Path, make: Callable[[], object] = lambda: None) -> Callable[[], None]:
    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        make()

    return prepare


def digests(root: Path, pattern: str) -> list[str]:
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in root.glob(pattern) if path.is_file())


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
@pytest.mark.parametrize("update", [False, True])
def test_split(record_property: Record, mode: Mode, update: bool, tmp_path: Path) -> None:
    root = tmp_path / "work"
    source, out = root / "photos", root / "split"
    options = SplitOptions(out=out, mode=mode, update=update)

    def make() -> None:
        small.folders(source, 2)
        if update:
            split(source, SplitOptions(out=out, mode=mode))
            for label in small.LABELS:
                (source / label / "new.png").write_bytes(small.png(hash(label) % 1000))

    prepare = fresh(root, make)
    prepare()
    every = sorted({*digests(source, "*/*"), *digests(out, "*/*/*")})
    split(source, options)
    expected = digests(out, "*/*/*")
    points = 0
    for n in crash_points(lambda: split(source, options), prepare):
        assert sorted({*digests(source, "*/*"), *digests(out, "*/*/*")}) == every, f"lost at {n}"
        split(source, options)
        assert digests(out, "*/*/*") == expected, f"not completed after {n}"
        with (out / "split.csv").open(newline="", encoding="utf-8") as file:
            targets = [row["target"] for row in csv.DictReader(file) if row["subset"]]
        assert sorted(targets) == sorted(str(p.relative_to(out)) for p in out.glob("*/*/*"))
        assert not rubbish(out), f"left after {n}"
        split(source, options)
        points = n
    record_property("cases", points)
    assert points > 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["new", "replaced", "among others"])
def test_evaluate_is_whole_or_nothing(record_property: Record, kind: str, tmp_path: Path, no_plots: None) -> None:
    photos, out = small.folders(tmp_path / "photos", 2), tmp_path / "work" / "reports"
    first, second = small.model(tmp_path / "first.onnx"), small.model(tmp_path / "second.onnx", seed=5)
    evaluate(photos, first, tmp_path / "old")
    evaluate(photos, second, tmp_path / "expected")
    expected = (tmp_path / "expected" / "predictions.csv").read_bytes()

    def make() -> None:
        if kind != "new":
            shutil.copytree(tmp_path / "old", out)
        if kind == "among others":
            (out / "notes.txt").write_text("mine")

    prepare = fresh(out.parent, make)
    prepare()
    old = {name: data for name, data in small.tree(out).items() if name != "notes.txt"} if out.exists() else {}
    points = 0
    for points in crash_points(lambda: evaluate(photos, second, out), prepare):
        if kind != "among others":
            found = small.tree(out) if out.exists() else {}
            assert found == old or found.get("predictions.csv") == expected, f"torn at {points}"
            assert set(found) in (set(), set(old)) or kind == "new"
        evaluate(photos, second, out)
        assert (out / "predictions.csv").read_bytes() == expected
        assert kind != "among others" or (out / "notes.txt").read_text() == "mine"
        assert not rubbish(out.parent), f"left after {points}"
    record_property("cases", points)
    assert points > 5


def test_an_export_is_completed_by_the_next(record_property: Record, tmp_path: Path) -> None:
    bundle = tmp_path / "model"

    def make() -> None:
        small.bundle(bundle)
        small.model(bundle / "model.onnx")

    def export() -> None:
        with export_folder(bundle, ["model.onnx", "model.int8.onnx"], kit=True) as folder:
            small.model(folder / "model.onnx", seed=5)
            small.model(folder / "model.int8.onnx", seed=5)
            (folder / "export.json").write_text('{"artefacts": {}}')
            (folder / "kit").mkdir()
            for name in ("samples.json", "labels.txt"):
                (folder / "kit" / name).write_text("{}")

    def prepare() -> None:
        shutil.rmtree(bundle, ignore_errors=True)
        make()

    prepare()
    old = (bundle / "model.onnx").read_bytes()
    new = small.model(tmp_path / "new.onnx", seed=5).read_bytes()
    points = 0
    for points in crash_points(export, prepare):
        assert not (bundle / "model.onnx").exists() or (bundle / "model.onnx").read_bytes() in (old, new)
        assert (bundle / "bundle.json").is_file()
        export()
        assert (bundle / "model.onnx").read_bytes() == (bundle / "model.int8.onnx").read_bytes() == new
        assert not rubbish(tmp_path), f"left after {points}"
    record_property("cases", points)
    assert points > 5


def test_check_writes_its_table_and_its_page_together(record_property: Record, tmp_path: Path) -> None:
    photos, root = small.folders(tmp_path / "photos", 2), tmp_path / "work"
    found = check(photos)
    table, page = root / "findings.csv", root / "findings.html"

    def write() -> None:
        with outputs(table, page) as write_both:
            write_both(found)

    points = 0
    for points in crash_points(write, fresh(root, write)):
        assert table.is_file()
        assert page.is_file()
        write()
        assert not rubbish(root), f"left after {points}"
    record_property("cases", points)
    assert points > 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("update", [False, True])
def test_infer(record_property: Record, suffix: str, update: bool, tmp_path: Path) -> None:
    photos, model, root = small.folders(tmp_path / "photos", 3), small.model(tmp_path / "model.onnx"), tmp_path / "work"
    out = root / f"labels{suffix}"
    options = InferOptions(workers=1, batch_size=2, update=update)

    def run() -> None:
        infer(Inputs(paths=(str(photos),)), out, model, options)

    prepare = fresh(root, run if update else lambda: None)
    prepare()
    old = out.read_bytes() if update else b""
    if update:
        (photos / "Cat" / "new.png").write_bytes(small.png(77))
    run()
    expected = out.read_bytes()

    def before() -> None:
        shutil.rmtree(root)
        root.mkdir()
        if update:
            out.write_bytes(old)

    points = 0
    for points in crash_points(run, before):
        assert not out.exists() or out.read_bytes() in (old, expected), f"torn at {points}"
        run()
        assert out.read_bytes() == expected
        assert not rubbish(root), f"left after {points}"
    record_property("cases", points)
    assert points > 2


def test_a_folder_moved_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where folders cannot be exchanged in one step."""
    monkeypatch.setattr("toolkit.core.files._exchange", lambda *_: False)
    root, folder = tmp_path / "work", tmp_path / "work" / "kit"

    def make() -> None:
        folder.mkdir()
        (folder / "model.txt").write_text("old")

    def write() -> None:
        with atomic_folder(folder) as new:
            (new / "model.txt").write_text("new")

    for n in crash_points(write, fresh(root, make)):
        kept = [path.read_text() for path in root.rglob("model.txt")]
        assert "old" in kept or "new" in kept, f"lost at {n}"
        write()
        assert (folder / "model.txt").read_text() == "new"
        assert not rubbish(root)


def test_a_living_process_keeps_its_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            assert first.exists()
            second.write_text("second")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]
