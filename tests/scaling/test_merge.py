"""Results of shards put together are the result of one run, byte for byte; anything else is refused by name."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import small
from support.command_line import ROOT, Cli, environment

from toolkit.core.errors import InputError, LockedError, ToolkitError, UsageError
from toolkit.core.locking import lock
from toolkit.inference.distributed.shard import Listing, Shard, ShardRecord
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.scaling.merge import merge

SUFFIXES = (".csv", ".jsonl", ".parquet")
OPTIONS = InferOptions(workers=1, top_k=2, probabilities=True, min_confidence=0.6, device="cpu")


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders with names of every kind, an image that is broken, and one that is missing."""
    monkeypatch.chdir(tmp_path)
    photos = small.folders(tmp_path / "photos", 12)
    (photos / "Cat" / "0").mkdir()
    names = ["=1+1.png", 'a "b", c\nd.png', "ä.png", os.fsdecode(b"\xe9.png"), "0/x.png", "0.b.png"]
    for i, name in enumerate(names):
        (photos / "Cat" / name).write_bytes(small.png(1000 + i))
    (photos / "Dog" / "broken.png").write_bytes(small.png(1)[:50])
    (photos / "Dog" / "empty.png").touch()
    (photos / "gone.png").symlink_to("nowhere.png")
    small.model(tmp_path / "model.onnx")
    return photos


def label(
    out: str | Path, shard: Shard | None = None, options: InferOptions = OPTIONS, *inputs: str, **more: Any
) -> Path:
    infer(Inputs(paths=inputs or ("photos",), shard=shard, **more), Path(out), Path("model.onnx"), options)
    return Path(out)


def shards(n: int, suffix: str = ".csv", options: InferOptions = OPTIONS, *inputs: str) -> list[Path]:
    return [label(f"labels-{i}{suffix}", Shard(i, n), options, *inputs) for i in range(1, n + 1)]


def same(one: str, other: str, suffix: str) -> None:
    for kind in (suffix, ".report.csv", ".confusion.csv"):
        assert Path(one + kind).read_bytes() == Path(other + kind).read_bytes(), kind


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n", range(1, 9))
def test_any_number_of_shards(n: int, suffix: str) -> None:
    whole = infer(Inputs(paths=("photos",)), Path(f"whole{suffix}"), Path("model.onnx"), OPTIONS)
    parts = shards(n, suffix)
    random.Random(n).shuffle(parts)
    merged = merge(parts, Path(f"merged{suffix}"))
    same("whole", "merged", suffix)
    assert (merged.n_files, merged.n_errors, merged.n_unsure) == (whole.n_files, whole.n_errors, whole.n_unsure)
    assert merged.labels == whole.labels
    assert merged.n_shards == n
    assert not Path("merged.shard").exists()


@pytest.mark.parametrize("out", SUFFIXES)
def test_parts_of_several_formats(out: str) -> None:
    label(f"whole{out}")
    parts = [label(f"labels-{i}{suffix}", Shard(i, 3), OPTIONS) for i, suffix in enumerate(SUFFIXES, 1)]
    merge(parts, Path(f"merged{out}"))
    same("whole", "merged", out)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_inputs_in_any_order_and_files_given_twice(n: int) -> None:
    inputs = ("photos/Dog", "photos/Cat/ä.png", "./photos/Cat/ä.png", "photos", str(Path("photos/Cat").absolute()))
    label("whole.csv", None, OPTIONS, *inputs)
    merge(shards(n, ".csv", OPTIONS, *inputs), Path("merged.csv"))
    same("whole", "merged", ".csv")


def test_more_shards_than_files() -> None:
    shutil.rmtree("photos/Cat")
    label("whole.parquet")
    for suffix in SUFFIXES:
        parts = shards(40, suffix)
        assert any(ShardRecord.of(part).rows.n == 0 for part in parts)
        merge(parts, Path("merged.parquet"), force=True)
        same("whole", "merged", ".parquet")
        for part in parts:  # an empty result is ours, too
            label(part, ShardRecord.of(part).shard)


def test_csv_safe() -> None:
    options = replace(OPTIONS, csv_safe=True)
    label("whole.csv", None, options, "photos", "photos/Cat/=1+1.png")
    os.chdir("photos/Cat")
    shutil.copy("../../model.onnx", "model.onnx")
    label("../../whole.csv", None, options, "=1+1.png", "0.png")
    parts = [label(f"../../labels-{i}.csv", Shard(i, 2), options, "=1+1.png", "0.png") for i in (1, 2)]
    os.chdir("../..")
    assert b"'=1+1.png" in Path("whole.csv").read_bytes()
    parts = [Path(part.name) for part in parts]
    merge(parts, Path("merged.csv"))
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    with pytest.raises(UsageError, match="--csv-safe"):
        merge(parts, Path("merged.jsonl"))


def test_an_update_of_the_shards_merges_too() -> None:
    parts = shards(3)
    Path("photos/Dog/new.png").write_bytes(small.png(5))
    Path("photos/Cat/1.png").unlink()
    with pytest.raises(InputError, match=r"labels-2.csv does not go with labels-1.csv: other inputs"):
        merge([label(parts[0], Shard(1, 3), replace(OPTIONS, update=True)), *parts[1:]], Path("merged.csv"))
    merge(shards(3, ".csv", replace(OPTIONS, update=True)), Path("merged.csv"))
    label("whole.csv")
    same("whole", "merged", ".csv")


def test_a_later_run_without_a_shard_has_no_record() -> None:
    label("labels.csv", Shard(1, 1))
    assert Path("labels.shard").exists()
    label("labels.csv")
    assert not Path("labels.shard").exists()
    Path("labels.shard").write_text("mine")
    with pytest.raises(InputError, match="toolkit did not write it"):
        label("labels.csv")


Change = Callable[[list[Path]], object]


def edited(place: int, old: bytes, new: bytes, *, record: bool = False) -> Change:
    def change(parts: list[Path]) -> None:
        path = parts[place].with_suffix(".shard") if record else parts[place]
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))

    return change


def changed_row(place: int, **cells: str) -> Change:
    """The first row of a part with other cells."""

    def change(parts: list[Path]) -> None:
        with parts[place].open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        for name, cell in cells.items():
            rows[1][rows[0].index(name)] = cell
        with parts[place].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    return change


def changed_record(place: int, name: str, value: object) -> Change:
    """A record with another field."""

    def change(parts: list[Path]) -> None:
        path = parts[place].with_suffix(".shard")
        first, rest = path.read_bytes().split(b"\n", 1)
        path.write_bytes(json.dumps({**json.loads(first), name: value}).encode() + b"\n" + rest)

    return change


def a_pipe(parts: list[Path]) -> None:
    path = parts[1].with_suffix(".shard")
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts.pop(1), r"1 of 3 shards is missing: 2/3"),
        (lambda parts: parts.__delitem__(slice(0, 2)), r"2 of 3 shards are missing: 1/3, 2/3"),
        (lambda parts: parts.append(parts[0]), r"labels-1.csv and labels-1.csv: both are shard 1/3"),
        (
            lambda parts: label(parts[1], Shard(1, 3)),
            r"labels-1.csv and labels-2.csv: both are shard 1/3",
        ),
        (lambda parts: label(parts[1], Shard(2, 4)), r"labels-2.csv does not go with labels-1.csv: it is shard 2/4"),
        (
            lambda parts: label(parts[1], Shard(2, 3), replace(OPTIONS, min_confidence=0.7, max_pixels=9999)),
            r"labels-2.csv .*: other options \(--min-confidence 0.7, not 0.6, --max-pixels 9999, not 200000000\)",
        ),
        (
            lambda parts: (small.model(Path("model.onnx"), seed=1), label(parts[1], Shard(2, 3))),
            r"labels-2.csv .*: another model \(.*sha256",
        ),
        (
            lambda parts: label(parts[1], Shard(2, 3), OPTIONS, "photos/Cat"),
            r"labels-2.csv .*: other inputs \(18 files in photos/Cat; 33 in photos\)",
        ),
        (lambda parts: parts[1].unlink(), r"labels-2.csv: expected the result of a shard, found nothing"),
        (lambda parts: parts[1].with_suffix(".shard").unlink(), r"labels-2.csv: expected labels-2.shard beside it"),
        (
            lambda parts: parts[1].rename("labels-2.csv.partial"),
            r"labels-2.csv: expected the result of a shard, found one that is not finished",
        ),
        (edited(1, b"unsure,", b"unsure,,"), r"labels-2.csv: this result of shard 2/3 is damaged \(row \d+: "),
        (edited(2, b"photos/", b"photo5/"), r"labels-3.csv: .*\(its rows are not the \d+ of labels-3.shard"),
        (lambda parts: parts[0].write_bytes(parts[0].read_bytes()[:-9]), r"labels-1.csv: .*\(its rows are not the"),
        (lambda parts: parts[0].write_bytes(b"path,label\r\n"), r"labels-1.csv: .*\(other columns"),
        (edited(1, b"\n1\n", b"\nx\n", record=True), r"labels-2.shard: this record of a shard is damaged"),
        (edited(1, b'"listing"', b'"other"', record=True), r"labels-2.shard: this record of a shard is damaged"),
        (edited(1, b'"top_k": 2', b'"top": 2', record=True), r"labels-2.shard: this record .* is damaged"),
        (edited(1, b'"top_k": 2', b'"top_k": 9' + b"0" * 9, record=True), r"labels-2.shard: this record .* \(top_k 90"),
        (edited(1, b'"exif": false', b'"exif": 99999', record=True), r"labels-2.shard: this record .* \(exif 99999"),
        (changed_row(1, status="fine"), r"labels-2.csv: .*\(row 1: status 'fine'"),
        (changed_row(1, label="Bird"), r"labels-2.csv: .*\(row 1: label 'Bird' beside status"),
        (changed_row(1, confidence="7"), r"labels-2.csv: .*\(row 1: 7 is no number from 0 to 1"),
        (changed_row(1, confidence="nan"), r"labels-2.csv: .*\(row 1: nan is no number from 0 to 1"),
        (changed_row(1, truth="Bird"), r"labels-2.csv: .*\(row 1: truth 'Bird'"),
        (changed_row(1, size="9" * 30), r"labels-2.csv: .*\(row 1: a size or time"),
        (changed_row(1, status="error"), r"labels-2.csv: .*\(row 1: a label or a number beside status error"),
        (changed_record(1, "listing", {"n": "60", "digest": "x"}), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "listing", {"n": None, "digest": "x"}), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "rows", {"n": "x", "digest": "x"}), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "model", {"contract": None}), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "model", {"contract": []}), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "model", None), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "options", []), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "inputs", [1]), r"labels-2.shard: this record .* is damaged"),
        (changed_record(1, "fingerprint", 1), r"labels-2.shard: this record .* is damaged"),
        (a_pipe, r"labels-2.shard: this record .*found a pipe"),
        (edited(1, b"\n1\n", b"\n" + b"1" * 5000 + b"\n", record=True), r"labels-2.csv: .* is damaged"),
    ],
)
def test_refused_by_name(change: Change, message: str) -> None:
    parts = shards(3)
    change(parts)
    with pytest.raises(ToolkitError, match=message) as caught:
        merge(parts, Path("merged.csv"))
    assert caught.value.exit_code in (2, 3)
    assert not [path for path in Path().iterdir() if "merged" in path.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_formats_that_are_torn(suffix: str) -> None:
    parts = shards(2, suffix)
    data = parts[1].read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        parts[1].write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"labels-2.* is damaged"):
            merge(parts, Path("merged.csv"))


def test_the_same_file_under_two_names() -> None:
    """Two hosts with different mounts: both shards would hold the same place of the listing."""
    parts = shards(2)
    first, second = (Path(f"labels-{i}.shard").read_bytes().split(b"\n", 1) for i in (1, 2))
    Path("labels-2.shard").write_bytes(second[0] + b"\n" + first[1][: first[1].index(b"\n") + 1] + second[1])
    with pytest.raises(InputError, match=r"is in two shards|damaged"):
        merge(parts, Path("merged.csv"))


def test_what_lies_at_out() -> None:
    parts = shards(2)
    with pytest.raises(UsageError, match="is one of the parts"):
        merge(parts, parts[0])
    Path("merged.csv").write_text("mine")
    with pytest.raises(InputError, match="toolkit did not write it"):
        merge(parts, Path("merged.csv"))
    assert Path("merged.csv").read_text() == "mine"
    merge(parts, Path("merged.csv"), force=True)
    with lock(Path("merged.csv")), pytest.raises(LockedError):
        merge(parts, Path("merged.csv"))


def test_text_that_is_no_unicode() -> None:
    parts = shards(2, ".parquet")
    table = pyarrow.parquet.read_table(parts[1])
    bad = pyarrow.array([b"\xff\xfe.png"] * len(table))
    text = pyarrow.Array.from_buffers(pyarrow.string(), len(bad), bad.buffers())
    pyarrow.parquet.write_table(table.set_column(0, table.schema.field(0), text), parts[1])
    with pytest.raises(InputError, match=r"labels-2.parquet: .* is damaged"):
        merge(parts, Path("merged.csv"))
    parts = shards(2, ".jsonl", replace(OPTIONS, force=True))
    data = parts[1].read_bytes()
    parts[1].write_bytes(data.replace(b'"path": "photos', b'"path": "\\ud800', 1))
    with pytest.raises(InputError, match=r"labels-2.jsonl: .* is damaged"):
        merge(parts, Path("merged.csv"))


def test_a_part_by_another_name_and_records_that_would_go(tmp_path: Path) -> None:
    parts = shards(2)
    before = parts[0].read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path / parts[0], Path("link") / parts[0], Path("photos/..") / parts[0]):
        with pytest.raises(UsageError, match="is one of the parts"):
            merge(parts, out)
    with pytest.raises(UsageError, match=r"labels-1.shard: belongs to one of the parts"):
        merge(parts, Path("labels-1.jsonl"))
    assert parts[0].read_bytes() == before
    Path("merged.shard").write_text("mine")
    with pytest.raises(InputError, match=r"merged.shard: exists, and toolkit did not write it"):
        merge(parts, Path("merged.csv"))
    assert Path("merged.shard").read_text() == "mine"
    Path("merged.shard").unlink()
    assert not Path("merged.csv").exists()
    label("merged.csv", Shard(1, 1))
    merge(parts, Path("merged.csv"))
    assert not Path("merged.shard").exists()


def test_the_command(run: Cli) -> None:
    for i in (1, 2):
        assert (
            run("infer", "photos", "--model", "model.onnx", "--shard", f"{i}/2", "--out", f"labels-{i}.csv").code == 0
        )
    found = sorted(path.name for path in Path().glob("labels-*.csv"))
    assert "labels-1.report.csv" in found  # a pattern matches them, too
    done = run("merge", *found, "--out", "labels.csv")
    assert done.code == 0, done.err
    assert done.err.startswith("33 files: Dog 19 · Cat 11 · ")
    assert done.err.endswith("(2 shards) -> labels.csv\n")
    whole = run("infer", "photos", "--model", "model.onnx", "--out", "whole.csv")
    assert whole.code == 0
    same("whole", "labels", ".csv")
    assert run("merge", *found, "--out", "labels.csv", "--max-failures", "1").code == 6
    assert run("merge", "labels-1.csv", "--out", "labels.csv").code == 3
    assert run("merge", "labels-1.csv", "--out", "labels.txt").code == 2


SLURM = {"ID": "3", "MIN": "1", "MAX": "8", "COUNT": "8"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({f"SLURM_ARRAY_TASK_{k}": v for k, v in SLURM.items()}, Shard(3, 8)),
        ({f"SLURM_ARRAY_TASK_{k}": v for k, v in {**SLURM, "MIN": "0", "MAX": "7"}.items()}, Shard(4, 8)),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "1"}, Shard(1, 1)),
        ({"JOB_COMPLETION_INDEX": "63", "JOB_COMPLETIONS": "64"}, Shard(64, 64)),
    ],
)
def test_auto(variables: dict[str, str], expected: Shard) -> None:
    assert Shard.parse("auto", variables) == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "neither SLURM_ARRAY_TASK_ID"),
        ({f"SLURM_ARRAY_TASK_{k}": v for k, v in {**SLURM, "COUNT": "2"}.items()}, "without gaps, found 1 to 8"),
        ({f"SLURM_ARRAY_TASK_{k}": v for k, v in {**SLURM, "MIN": "3"}.items()}, "from 0 or 1"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "expected a whole number in SLURM_ARRAY_TASK_MIN, found ''"),
        ({"JOB_COMPLETION_INDEX": "3"}, "expected a whole number in JOB_COMPLETIONS"),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "3"}, "shard 4 of 3 does not exist"),
        ({"JOB_COMPLETION_INDEX": "x", "JOB_COMPLETIONS": "3"}, "expected a whole number"),
    ],
)
def test_auto_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Shard.parse("auto", variables)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(), st.booleans()), max_size=200))
def test_a_record_gives_back_the_places(names: list[tuple[str, bool]]) -> None:
    out = Path("recorded.csv")
    listing = Listing()
    for name, own in names:
        listing.saw(name)
        if own:
            listing.took(name)
    about: dict[str, Any] = {"inputs": ["x"], "model": {}, "options": {}, "fingerprint": "f"}
    listing.write(out, Shard(1, 2), about)
    record = ShardRecord.of(out)
    assert list(record.places()) == [place for place, (_, own) in enumerate(names) if own]
    assert (record.listing.n, record.rows.n) == (len(names), sum(own for _, own in names))
    out.with_suffix(".shard").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_64_processes_of_which_five_are_killed(tmp_path: Path, seed: int) -> None:
    for i in range(1000):
        (tmp_path / "photos" / ("Cat", "Dog")[i % 2] / f"{i}.more.png").write_bytes(small.png(i))
    label("whole.csv", None, InferOptions(device="cpu"))
    rng = random.Random(seed)
    killed = set(rng.sample(range(1, 65), 5))
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from toolkit.inference.infer import infer\n"
        "from toolkit.inference.inputs import Inputs\n"
        "from toolkit.inference.options import InferOptions\n"
        "from toolkit.inference.resume import Partial\n"
        "from toolkit.inference.distributed.shard import Shard\n"
        "shard, after = Shard.parse('auto'), int(sys.argv[1])\n"
        "append = Partial.append\n"
        "def counted(self, rows):\n"
        "    global after\n"
        "    append(self, rows)\n"
        "    after -= 1\n"
        "    if not after: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Partial.append = counted\n"
        "options = InferOptions(device='cpu', workers=1, batch_size=4)\n"
        "out = Path(f'labels-{shard.index}.csv')\n"
        "infer(Inputs(paths=('photos',), shard=shard), out, Path('model.onnx'), options)\n"
    )

    def process(index: int, after: int = 0) -> int:
        variables = {"JOB_COMPLETION_INDEX": str(index - 1), "JOB_COMPLETIONS": "64", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script, str(after)]
        return subprocess.run(command, cwd=tmp_path, env=environment(**variables), check=False).returncode

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(process, range(1, 65), [rng.randint(1, 3) * (i in killed) for i in range(1, 65)]))
        assert {i for i, code in enumerate(codes, 1) if code == -signal.SIGKILL} == killed
        assert set(codes) == {0, -signal.SIGKILL}
        parts = [tmp_path / f"labels-{i}.csv" for i in range(1, 65)]
        with pytest.raises(InputError, match="found one that is not finished"):
            merge(parts, tmp_path / "merged.csv")
        assert list(pool.map(process, sorted(killed))) == [0] * 5
    merge(parts, tmp_path / "merged.csv")
    same("whole", "merged", ".csv")
    assert json.loads(Path("labels-1.shard").read_text().splitlines()[0])["shard"] == "1/64"
