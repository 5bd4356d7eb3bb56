"""A folder of Parquet parts: the rows of one run, whole or not at all, and only what is missing done again."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet
import pytest
from support import small
from support.command_line import ROOT, Cli, environment
from support.crash import crash_points

import toolkit
from toolkit.core.errors import InputError, UsageError
from toolkit.inference.distributed.part_names import MANIFEST
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result import InferResult
from toolkit.inference.saved_results import SavedResults

OPTIONS = InferOptions(device="cpu", workers=2, batch_size=4, part_size=8, probabilities=True, min_confidence=0.6)


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    photos = small.folders(tmp_path / "photos", 14)
    (photos / "Dog" / "broken.png").write_bytes(small.png(1)[:50])
    (photos / "Dog" / "gone.png").symlink_to("nowhere.png")
    small.model(tmp_path / "model.onnx")
    return photos


def label(out: str = "labels", options: InferOptions = OPTIONS, *inputs: str) -> InferResult:
    return infer(Inputs(paths=inputs or ("photos",)), Path(out), Path("model.onnx"), options)


def folder(path: str = "labels") -> dict[str, object]:
    """Everything in it but the manifest's times."""
    found: dict[str, object] = {p.name: p.read_bytes() for p in Path(path).iterdir() if p.name != MANIFEST}
    if (manifest := Path(path, MANIFEST)).exists():
        fields = json.loads(manifest.read_text())
        assert set(fields.pop("times")) == {"started", "finished"}
        found[manifest.name] = fields
    return found


def test_a_finished_folder_is_a_table_to_view_sort_and_review(run: Cli) -> None:
    label()
    label("whole.parquet", replace(OPTIONS, part_size=None))
    assert len(list(Path("labels").glob("part-*"))) > 2
    assert list(SavedResults(Path("labels"))) == list(SavedResults(Path("whole.parquet")))
    done = run("view", "labels/")
    assert done.code == 0, done.err
    assert "labels.html: 30 of 30 files shown" in done.err
    assert run("sort", "labels", "--into", "sorted").code == 6  # gone.png leads nowhere
    assert "sorted: 0 files placed, 29 there already" in run("sort", "whole.parquet", "--into", "sorted").err
    done = run("review", "labels", "--to", "label-studio")
    assert (done.code, "28 tasks" in done.err) == (0, True), done.err
    before = folder()
    for command in (
        ["view", "labels", "--out", "labels/page.html"],
        ["view", "labels/part-00000-of-00004.parquet"],
        ["infer", "photos", "--model", "model.onnx", "--out", "other.csv", "--html", "labels/page.html"],
        ["review", "labels", "--out", "labels/corrections.csv"],
        ["review", "labels", "--to", "label-studio", "--file", "labels/tasks.json"],
    ):
        refused = run(*command)
        assert (refused.code, "lies in a folder of parts" in refused.err) == (3, True), refused.err
    assert folder() == before


def test_what_is_no_finished_folder_is_said(run: Cli) -> None:
    label()
    Path("photos/page.html").touch()
    manifest = Path("labels", MANIFEST).read_text()
    part = next(Path("labels").glob("part-*"))
    part.rename("elsewhere.parquet")
    for place, text in (("labels", f"{part.name} is missing"), ("photos", "a folder without parts")):
        done = run("view", place)
        assert (done.code, text in done.err) == (3, True), done.err
    Path("elsewhere.parquet").rename(part)
    shutil.copy(sorted(Path("labels").glob("part-*"))[-1], part)
    assert "this table is damaged" in run("sort", "labels", "--into", "sorted").err
    Path("labels", MANIFEST).unlink()
    done = run("view", "labels")
    assert (done.code, "a run that is not finished" in done.err, "same toolkit infer line" in done.err) == (
        3,
        True,
        True,
    )
    Path("labels", MANIFEST).write_text(manifest.replace('"rows"', '"lines"'))
    assert "is damaged" in run("view", "labels").err


def whole() -> pyarrow.Table:
    label("whole.parquet", replace(OPTIONS, part_size=None))
    return pyarrow.parquet.read_table("whole.parquet")


def test_the_rows_of_one_run() -> None:
    result = label()
    assert sorted(p.name for p in Path("labels").iterdir()) == [
        "_manifest.json",
        *(f"part-{i:05d}-of-00004.parquet" for i in range(4)),
    ]
    expected = whole()
    assert pyarrow.dataset.dataset("labels").to_table().equals(expected)
    schemas = {str(pyarrow.parquet.read_schema(p)) for p in Path("labels").glob("*.parquet")}
    assert len(schemas) == 1
    for kind in ("report.csv", "confusion.csv"):
        assert Path(f"labels.{kind}").read_bytes() == Path(f"whole.{kind}").read_bytes()
    manifest = json.loads(Path("labels/_manifest.json").read_text())
    assert manifest["counts"] == {"files": 30, "ok": result.n_ok, "unsure": result.n_unsure, "errors": 2}
    assert [(part["name"], part["rows"]) for part in manifest["parts"]] == [
        (f"part-{i:05d}-of-00004.parquet", n) for i, n in enumerate((8, 8, 8, 6))
    ]
    assert not Path("labels.lock").exists()


def test_others_read_the_folder() -> None:
    import pandas as pd

    label()
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    example = next(text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "duckdb" in text)
    pytest.importorskip("duckdb")
    names: dict[str, object] = {}
    exec(example, names)
    frame, table, counts = names["frame"], names["table"], names["counts"]
    assert isinstance(frame, pd.DataFrame)
    expected = whole().to_pandas()
    pd.testing.assert_frame_equal(frame, expected)
    assert isinstance(table, pyarrow.Table)
    assert table["path"].to_pylist() == expected["path"].tolist()
    assert isinstance(counts, list)
    assert sum(n for _, n in counts) == len(expected)


def test_again_does_nothing_and_changes_are_done() -> None:
    label()
    before, times = folder(), {p.name: p.stat().st_mtime_ns for p in Path("labels").glob("*.parquet")}
    manifest = Path("labels/_manifest.json")
    Path("photos/Dog/gone.png").unlink()
    Path("photos/Dog/gone.png").write_bytes(small.png(77))
    again = label()
    assert (again.n_files, again.n_kept, again.n_errors) == (30, 29, 1)
    changed = {p.name for p in Path("labels").glob("*.parquet") if p.stat().st_mtime_ns != times[p.name]}
    assert changed == {"part-00003-of-00004.parquet"}
    assert folder() != before
    assert label().n_kept == 30
    content = manifest.read_bytes()
    assert label().n_files == 30
    assert manifest.read_bytes() == content
    assert pyarrow.dataset.dataset("labels").to_table().equals(whole())


def test_another_division_and_another_model() -> None:
    label()
    label(options=replace(OPTIONS, part_size=20))
    assert sorted(p.name for p in Path("labels").glob("*.parquet")) == [
        "part-00000-of-00002.parquet",
        "part-00001-of-00002.parquet",
    ]
    small.model(Path("model.onnx"), seed=3)
    result = label(options=replace(OPTIONS, part_size=20))
    assert result.n_kept == 0
    assert pyarrow.dataset.dataset("labels").to_table().equals(whole())


def test_killed_before_each_change_of_the_disk() -> None:
    label("expected")
    expected = folder("expected")

    def prepare() -> None:
        shutil.rmtree("labels", ignore_errors=True)

    for n in crash_points(label, prepare):
        label()
        found = folder()
        assert found == expected, n


def test_a_damaged_part_is_done_again() -> None:
    label()
    before = folder()
    part = Path("labels/part-00001-of-00004.parquet")
    other = Path("labels/part-00002-of-00004.parquet")
    part.write_bytes(other.read_bytes())
    label()
    assert folder() == before


def test_nothing_is_lost_where_no_file_is_found() -> None:
    """A disk that is not mounted."""
    label()
    before = folder()
    Path("photos").rename("away")
    Path("photos").mkdir()
    with pytest.raises(InputError, match="found none"):
        label()
    assert folder() == before
    with pytest.raises(InputError, match="found none"):
        label("new")
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "options",
    [replace(OPTIONS, part_size=7), replace(OPTIONS, part_size=9), replace(OPTIONS, part_size=20)],
)
def test_another_division_takes_the_rows_over(options: InferOptions) -> None:
    label()
    Path("photos/Cat/0.0.new.png").write_bytes(small.png(77))
    result = label(options=options)
    assert (result.n_files, result.n_kept) == (31, 29)  # all but the new one and one that is gone
    assert len(list(Path("labels").iterdir())) == 1 + -(-31 // (options.part_size or 1))
    assert pyarrow.dataset.dataset("labels").to_table().equals(whole())


def test_files_that_move_to_the_next_part_keep_their_rows() -> None:
    label()
    Path("photos/Cat/0.0.new.png").write_bytes(small.png(77))
    assert label().n_kept == 29
    assert pyarrow.dataset.dataset("labels").to_table().equals(whole())


def test_killed_before_each_change_to_another_division() -> None:
    label("old")
    names = {p.name for p in Path("old").glob("*.parquet")}
    other = replace(OPTIONS, part_size=20)
    shutil.copytree("old", "expected")
    label("expected", other)
    expected = folder("expected")

    def prepare() -> None:
        shutil.rmtree("labels", ignore_errors=True)
        shutil.copytree("old", "labels")

    for n in crash_points(lambda: label(options=other), prepare):
        found = {p.name for p in Path("labels").glob("part-*")}
        assert names <= found or expected.keys() - {MANIFEST} <= found, n
        result = label(options=other)
        assert folder() == expected, n
        assert result.n_new <= 1, n  # the one that is gone is tried again


@pytest.mark.parametrize("killed", [False, True])
def test_a_part_that_was_edited_is_done_again(killed: bool) -> None:
    label()
    before = folder()
    part = Path("labels/part-00001-of-00004.parquet")
    table = pyarrow.parquet.read_table(part)
    labels = ["Dog" if name == "Cat" else "Cat" for name in table["label"].to_pylist()]
    place = table.schema.get_field_index("label")
    pyarrow.parquet.write_table(table.set_column(place, table.schema.field(place), [labels]), part)
    if killed:
        for _ in crash_points(label, lambda: None):
            pass
    else:
        assert label().n_kept == 21  # one is gone
    assert folder() == before


def test_a_part_whose_text_is_no_unicode() -> None:
    label()
    before = folder()
    Path("labels/_manifest.json").unlink()
    part = Path("labels/part-00001-of-00004.parquet")
    write_bad_text(part)
    label()
    assert folder() == before


def write_bad_text(path: Path) -> None:
    """Every path in the result `path` gets bytes that are not UTF-8."""
    table = pyarrow.parquet.read_table(path)
    bad = pyarrow.array([b"\xff\xfe.png"] * len(table)).cast(pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), len(bad), bad.buffers())
    place = table.schema.get_field_index("path")
    pyarrow.parquet.write_table(table.set_column(place, table.schema.field(place), text), path)


def test_other_commands_and_text_that_is_no_unicode(run: Cli) -> None:
    label("whole.parquet", replace(OPTIONS, part_size=None))
    expected = Path("whole.parquet").read_bytes()
    write_bad_text(Path("whole.parquet"))
    assert run("view", "whole.parquet", "--out", "view.html").code == 3
    assert run("sort", "whole.parquet", "--into", "sorted").code == 3
    label("whole.parquet", replace(OPTIONS, part_size=None, update=True))
    assert Path("whole.parquet").read_bytes() == expected


def test_an_empty_folder_a_slash_and_a_list(run: Cli) -> None:
    Path("empty").mkdir()
    assert run("infer", "photos", "--model", "model.onnx", "--out", "empty").code == 0
    assert run("infer", "photos", "--model", "model.onnx", "--out", "labels/", "--part-size", "8").code == 0
    assert len(list(Path("labels").glob("*.parquet"))) == 4
    assert toolkit.infer("photos", "new/", "model.onnx").n_files == 30
    listed = "\n".join(str(path) for path in sorted(Path("photos/Cat").iterdir()))
    command = [sys.executable, "-m", "toolkit", "infer", "-", "--model", "model.onnx", "--out", "list/"]
    done = subprocess.run(command, input=listed, text=True, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("14 files: ")


def test_what_is_refused(run: Cli) -> None:
    for more in (["--shard", "1/2"], ["--update"], ["--csv-safe"], ["--html", "x.html"]):
        assert run("infer", "photos", "--model", "model.onnx", "--out", "labels/", *more).code == 2, more
    assert run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv", "--part-size", "9").code == 2
    assert run("infer", "photos", "--model", "model.onnx", "--part-size", "9").code == 2
    done = run("infer", "photos", "--model", "model.onnx", "--out", "photos/")
    assert (done.code, "toolkit did not write it" in done.err) == (3, True)
    with pytest.raises(UsageError, match="found a folder"):
        label("photos", replace(OPTIONS, part_size=None))
    Path("file").touch()
    with pytest.raises(InputError, match="expected a folder, found a file"):
        label("file")
    label()
    Path("labels/mine.txt").touch()
    with pytest.raises(InputError, match=r"holds mine.txt, and toolkit did not write it"):
        label()


def test_files_that_come_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Inputs.count_all

    def late(self: Inputs, stop: object) -> int | None:
        n = count(self, stop)  # type: ignore[arg-type]
        Path("photos/Dog/late.png").write_bytes(small.png(5))
        return n

    monkeypatch.setattr(Inputs, "count_all", late)
    with pytest.raises(InputError, match="some came or went meanwhile"):
        label()
    assert not Path("labels/_manifest.json").exists()
    monkeypatch.undo()


@pytest.mark.slow
def test_killed_at_ten_random_points(tmp_path: Path) -> None:
    for i in range(1500):
        (tmp_path / "photos" / "Cat" / f"{i}.more.png").write_bytes(small.png(i))
    options = replace(OPTIONS, part_size=100)
    start = time.perf_counter()
    label("expected", options)
    lasts = time.perf_counter() - start
    expected = folder("expected")
    script = (
        "from pathlib import Path\n"
        "from toolkit.inference.infer import infer\n"
        "from toolkit.inference.inputs import Inputs\n"
        "from toolkit.inference.options import InferOptions\n"
        "options = InferOptions(device='cpu', workers=2, batch_size=4, part_size=100, probabilities=True,"
        " min_confidence=0.6)\n"
        "print('ready', flush=True)\n"
        "infer(Inputs(paths=('photos',)), Path('labels'), Path('model.onnx'), options)\n"
    )
    rng, killed = random.Random(0), 0
    while killed < 10:
        shutil.rmtree("labels", ignore_errors=True)
        command = [sys.executable, "-c", script]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, lasts))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        label("labels", options)
        assert folder() == expected
