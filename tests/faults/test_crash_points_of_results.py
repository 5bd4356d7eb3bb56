"""merge, embed, adopt and reviews taken from a team, killed before each of their changes to the disk."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import small
from support.command_line import Cli
from support.crash import crash_points, in_a_process

from toolkit.adopting.adopt import AdoptOptions, adopt
from toolkit.core.errors import InputError, ToolkitError
from toolkit.embedding.embed import embed
from toolkit.embedding.feature_files import FeatureRow, read_features, rows_path, write_features
from toolkit.inference.distributed.shard import Shard
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.model_files.contract_io import has_contract
from toolkit.scaling.merge import merge

Record = Callable[[str, object], None]
OPTIONS = InferOptions(device="cpu", workers=1, batch_size=4)
MODEL = Path("model.onnx")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "photos", 3)
    small.model(tmp_path / "model.onnx")
    small.foreign_onnx(tmp_path / "foreign.onnx")
    return tmp_path


def left(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.name.endswith((".lock", ".partial")) or ".tmp" in path.name]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".json"])
def test_merge(record_property: Record, suffix: str) -> None:
    parts = [Path(f"part-{k}.csv") for k in (1, 2)]
    out = Path("work", f"merged{suffix}")

    def label() -> None:
        for k, part in enumerate(parts, 1):
            infer(Inputs(paths=("photos",), shard=Shard(k, 2)), part, MODEL, replace(OPTIONS, force=True))

    def run() -> None:
        merge(parts, out)

    label()
    run()
    old = small.tree(out.parent)
    (Path("photos") / "Cat" / "new.png").write_bytes(small.png(77))
    label()
    run()
    new = small.tree(out.parent)
    assert old != new
    before = {part: part.read_bytes() for part in parts}

    def prepare() -> None:
        shutil.rmtree("work")
        out.parent.mkdir()
        for name, data in old.items():
            assert isinstance(data, bytes)
            (out.parent / name).write_bytes(data)

    points = 0
    for points in crash_points(run, prepare):
        for name, data in old.items():
            assert (out.parent / name).read_bytes() in (data, new[name]), f"{name} torn at {points}"
        run()
        assert small.tree(out.parent) == new
        assert {part: part.read_bytes() for part in parts} == before
        assert not left(out.parent)
    record_property("cases", points)
    assert points > 3


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_embed(record_property: Record, suffix: str) -> None:
    """No features of one run beside the rows of another, at no point."""
    out = Path("work", f"features{suffix}")
    other = small.png(77)

    def run() -> None:
        embed(Inputs(paths=("photos",)), out, MODEL, OPTIONS)

    def found() -> list[tuple[str, str, list[float]]]:
        rows = read_features(out)
        return [(row.path, row.error, [] if row.features is None else row.features.tolist()) for row in rows]

    def prepare() -> None:
        shutil.rmtree("work", ignore_errors=True)
        Path("photos/Cat/0.png").write_bytes(small.png(0))
        run()
        Path("photos/Cat/0.png").write_bytes(other)

    prepare()
    old = found()
    run()
    new = found()
    assert old != new
    points = 0
    for points in crash_points(run, prepare):
        if out.exists():
            assert found() in (old, new), f"mixed at {points}"
        run()
        assert found() == new
        assert not left(out.parent)
    record_property("cases", points)
    assert points > 2


def test_adopt(record_property: Record) -> None:
    out = Path("work", "adopted.onnx")
    options = AdoptOptions(preset="imagenet", labels=Path("labels.txt"), out=out)
    Path("labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))

    def run() -> None:
        adopt(Path("foreign.onnx"), options)

    def prepare() -> None:
        shutil.rmtree("work", ignore_errors=True)

    points = 0
    for points in crash_points(run, prepare):
        assert not out.exists() or has_contract(out)
        assert in_a_process(run) == 0
        assert has_contract(out), f"not completed after {points}"
        assert not left(out.parent)
    record_property("cases", points)
    assert points > 1


# --- feature files that are damaged, or another program's ----------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "half", "text", "other rows"])
def test_damaged_features_are_refused(suffix: str, damage: str, run: Cli) -> None:
    out = Path(f"features{suffix}")
    assert run("embed", "photos", "--model", "model.onnx", "--out", str(out)).code == 0
    whole = out.read_bytes()
    damaged = {
        "cut": whole[:-7],
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "text": b"\x93NUMPY, but text",
        "other rows": whole,
    }
    out.write_bytes(damaged[damage])
    if damage == "other rows":
        target = rows_path(out) if suffix == ".npy" else out
        target.write_bytes(target.read_bytes().replace(b"ok", b"\xff\xfe", 1))
    done = run("embed", str(out), "--like", "photos/Cat/0.png", "--model", "model.onnx")
    assert done.code in (0, 3), done.err  # 0: what was changed is no number
    assert "bug" not in done.err
    if damage in ("empty", "text", "half"):
        assert done.code == 3, done.err


def test_features_of_another_width_or_with_objects(run: Cli) -> None:
    rows = [FeatureRow(path="a.png", features=np.ones(3, np.float32), error="", size=1, mtime_ns=1, model="x")]
    write_features(Path("other.npy"), 3, 1, rows)
    np.save("other.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        list(read_features(Path("other.npy")))
    for content in (b"path,status,error,size,mtime_ns,model\r\na,ok,,x,y,z\r\n", b"path,status\r\n", b"\0" * 100):
        write_features(Path("other.npy"), 3, 1, rows)
        rows_path(Path("other.npy")).write_bytes(content)
        with pytest.raises(ToolkitError, match=r"other\.npy"):
            list(read_features(Path("other.npy")))


# --- a team's decisions --------------------------------------------------------------------------------------------


def test_decisions_of_a_team_join_those_of_a_review(run: Cli) -> None:
    """An export may hold anything; what was decided before stays."""
    assert run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv").code == 0
    Path("corrections.csv").write_text("file_name,label,was,decided\nphotos/Dog/0.png,Wolf,Dog,2026-01-01T00:00:00Z\n")
    for choice in ("Lion", "\ud800", "=1+1", "x" * 300):
        annotation = {"result": [{"type": "choices", "value": {"choices": [choice]}}]}
        task = {"data": {"path": "photos/Cat/0.png", "label": "Cat"}, "annotations": [annotation]}
        Path("export.json").write_text(json.dumps([task]))
        done = run("review", "labels.csv", "--from", "label-studio", "--file", "export.json")
        assert done.code == (3 if choice == "\ud800" else 0), done.err
        assert "bug" not in done.err
        with Path("corrections.csv").open(newline="", encoding="utf-8") as file:
            assert "photos/Dog/0.png" in {row["file_name"] for row in csv.DictReader(file)}
