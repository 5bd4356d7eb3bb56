"""Batches of other engines: the rows of `toolkit infer`, whatever the batch is made of."""

from __future__ import annotations

import csv
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support import small
from support.command_line import ROOT, environment

import toolkit
from toolkit.core.errors import ModelError, UsageError

OPTIONS = toolkit.InferOptions(device="cpu", min_confidence=0.5, probabilities=True)


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of nine images, a broken one, an empty one and one that is not there."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    small.model(Path("model/model.onnx"))
    Path("photos").mkdir()
    names = [f"photos/{i}.jpg" for i in range(9)]
    for i, name in enumerate(names):
        Path(name).write_bytes(small.png(i))
    Path("photos/broken.png").write_bytes(small.png(1)[:60])
    Path("photos/empty.png").touch()
    return [*names, "photos/broken.png", "photos/empty.png"]


def expected(images: list[str]) -> list[dict[str, str]]:
    toolkit.infer(images, "whole.csv", options=OPTIONS)
    with Path("whole.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(rows: list[dict[str, object]], images: list[str]) -> None:
    wanted = expected(images)
    assert [row["path"] for row in rows] == images
    for row, want in zip(rows, wanted, strict=True):
        assert (row["label"] or "", row["status"], row["error"] or "") == (want["label"], want["status"], want["error"])
        if want["confidence"]:
            assert f"{row['confidence']:.6f}" == want["confidence"]
            assert row["size"] == int(want["size"])


def test_every_kind_of_batch(images: list[str]) -> None:
    label = toolkit.BatchLabeller("model", OPTIONS, keep=["id"])
    ids = list(range(len(images)))
    from_dict = label({"path": np.array(images, object), "id": np.array(ids)})
    assert [type(column) for column in from_dict.values()] == [np.ndarray] * len(from_dict)
    same([dict(zip(from_dict, row, strict=True)) for row in zip(*from_dict.values(), strict=True)], images)
    frame = label(pd.DataFrame({"path": images, "id": ids}, index=[i * 2 for i in ids]))
    same(frame.to_dict("records"), images)
    assert frame.index.tolist() == [i * 2 for i in ids]
    for kind in (pa.Table, pa.RecordBatch):
        table = label(kind.from_pydict({"path": images, "id": ids}))
        assert isinstance(table, kind)
        assert table.schema.names == ["id", *label.columns]
        assert table.column("id").to_pylist() == ids
        same(table.to_pylist(), images)
    for got in (frame.columns.tolist(), list(from_dict)):
        assert got == ["id", *label.columns]
    assert label.ddl.startswith("`path` string, `label` string, `confidence` double")


def test_bytes(images: list[str]) -> None:
    label = toolkit.BatchLabeller("model", OPTIONS)
    data = [Path(name).read_bytes() for name in images]
    rows = label(pa.table({"path": images, "bytes": data})).to_pylist()
    same(rows, images)
    assert [row["size"] for row in rows] == [len(one) for one in data]
    alone = label({"bytes": data})
    assert alone["label"].tolist() == [row["label"] or "" for row in rows]
    assert set(alone["path"]) == {""}


def test_never_an_exception_for_an_image() -> None:
    label = toolkit.BatchLabeller("model", OPTIONS)
    odd = ["nowhere.jpg", "photos", "", "a\0b.jpg", None, 7, float("nan"), "photos/0.jpg"]
    answers = label({"path": odd})
    assert answers["status"].tolist() == ["error"] * 7 + [answers["status"][-1]]
    assert answers["status"][-1] != "error"
    assert all(answers["error"][:7])
    frame = label(pd.DataFrame({"bytes": [None, b"", b"GIF89a", "text", small.png(1)]}))
    assert frame["status"].tolist()[:4] == ["error"] * 4
    assert frame["status"].tolist()[4] != "error"
    assert len(label(pd.DataFrame({"path": []}))) == 0
    assert label(pa.table({"path": pa.array([], pa.string())})).num_rows == 0
    for wrong in ({"file": ["x"]}, [1, 2], "photos/0.jpg"):
        with pytest.raises(UsageError):
            label(wrong)
    with pytest.raises(ModelError):
        toolkit.BatchLabeller("nowhere")


def test_half_characters_in_a_path() -> None:
    label = toolkit.BatchLabeller("model", OPTIONS)
    good = "photos/0.jpg"
    for odd in ("a\ud800.jpg", Path("a\ud800.jpg")):
        answers = label({"path": [odd, good]})
        assert answers["path"].tolist() == ["a\\ud800.jpg", good]
        assert (answers["status"][0], answers["status"][1] != "error") == ("error", True)
        assert "half a character" in answers["error"][0]
    named = label({"path": ["a\ud800.jpg", "ä.jpg"], "bytes": [small.png(1)] * 2})
    assert named["path"].tolist() == ["a\\ud800.jpg", "ä.jpg"]
    assert "error" not in named["status"]


def test_options_and_columns_that_are_none() -> None:
    for keep in ("id", 7, [["id"]], None):
        with pytest.raises(UsageError, match="keep: expected a list"):
            toolkit.BatchLabeller("model", OPTIONS, keep=keep)  # type: ignore[arg-type]
    for options in ({"top_k": 2}, "cpu"):
        with pytest.raises(UsageError, match="options: expected InferOptions"):
            toolkit.BatchLabeller("model", options)  # type: ignore[arg-type]
    label = toolkit.BatchLabeller("model", OPTIONS, keep=["id", "path"])
    columns = {"path": ["photos/0.jpg"]}
    for batch in (columns, pd.DataFrame(columns), pa.table(columns)):
        with pytest.raises(UsageError, match="expected id, too"):
            label(batch)


def test_pickled_before_and_after_its_first_batch(images: list[str], tmp_path: Path) -> None:
    label = toolkit.BatchLabeller("model", OPTIONS)
    first = label({"path": images})
    copy = pickle.loads(pickle.dumps(label))
    os.chdir("photos")
    again = copy({"path": [str(tmp_path / name) for name in images]})
    assert again["confidence"].tolist()[:9] == first["confidence"].tolist()[:9]
    assert len(pickle.dumps(label)) < 3000
    several = list(toolkit.BatchLabeller(tmp_path / "model", OPTIONS)(iter([{"path": ["x"]}, {"path": ["y"]}])))
    assert [answer["path"].tolist() for answer in several] == [["x"], ["y"]]


PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["dask", "multiprocessing", "ray", "pyspark"])
def test_the_examples_of_the_page(package: str, images: list[str], tmp_path: Path) -> None:
    if package != "multiprocessing":
        pytest.importorskip(package)
    if package == "pyspark" and shutil.which("java") is None:
        pytest.skip("Spark needs a Java, and there is none on the path")
    examples = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"{package}" in text]
    assert len(examples) == 1
    wanted = [row["label"] for row in expected(["photos/1.jpg", "photos/2.jpg"])]
    script = (
        examples[0]
        + "\n"
        + (
            "    rows = [row for a in answers for row in a['label']]\n    print('labels', *rows)\n"
            if package == "multiprocessing"
            else "rows = answers['label'] if hasattr(answers, 'columns') else [row['label'] for row in answers]\n"
            "print('labels', *rows)\n"
        )
    )
    (tmp_path / "example.py").write_text(script)
    variables = environment(RAY_DEDUP_LOGS="0", PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    done = subprocess.run(
        [sys.executable, "example.py"], env=variables, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"labels {' '.join(wanted)}" in done.stdout


class _Bytes:
    def __fspath__(self) -> bytes:
        return b"photos/0.jpg"


@pytest.mark.parametrize("bad", ["gs://", "s3://me:word@bucket/x.png", "http://", "\0", "a" * 5000, "photos"])
def test_paths_and_urls_that_are_none_are_error_rows(bad: str) -> None:
    found = toolkit.BatchLabeller("model")({"path": [bad, _Bytes()]})
    assert list(found["status"]) == ["error", "ok"]
    assert found["error"][0].startswith("cannot be read: ")
    assert "word" not in found["error"][0]


def test_batches_whose_columns_do_not_go_together() -> None:
    label = toolkit.BatchLabeller("model")
    with pytest.raises(UsageError, match="1 in path and 2 in bytes"):
        label({"path": ["a"], "bytes": [b"", b""]})
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["path", "path"])
    with pytest.raises(UsageError, match="two columns path"):
        label(twice)
