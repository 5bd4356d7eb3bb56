"""Which files a run takes, and how much of the machine."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small
from support.command_line import run_cli

from toolkit import doctor
from toolkit.core.machine import memory_limit, usable_cpus
from toolkit.data.passed_over import PassedOver
from toolkit.inference.distributed.shard import Shard
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.sessions import cuda

PNG = b"\x89PNG\r\n\x1a\n...."


def make(folder: Path, *names: str | bytes) -> None:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(PNG)


def names(*paths: str, counts: PassedOver | None = None, **options: object) -> list[str]:
    return [s.name for s in Inputs(paths=paths, **options).samples(counts or PassedOver())]  # type: ignore[arg-type]


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "in/b.PNG", "in/a/z.jpg", "in/a.jpg", "in/a-b/x.webp", "in/plain", "in/.hidden/x.png", "in/.x.png")
    make(tmp_path, b"in/caf\xe9.png", "in/c.png")
    (tmp_path / "in" / "notes").write_text("no image")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    counts = PassedOver()
    places = ["a/z.jpg", "a-b/x.webp", "a.jpg", "b.PNG", "c.png", "caf\\xe9.png", "plain"]
    assert names("in", counts=counts) == [f"in/{place}" for place in places]
    assert counts.others == 2
    assert counts.suffixes == {".txt": 1, "": 1}
    assert str(counts) == "passed over: 1 without a suffix, 1 .txt, 2 hidden"
    assert names("in/.x.png") == ["in/.x.png"]
    assert names("in/.hidden") == ["in/.hidden/x.png"]
    assert names("in/notes.txt") == ["in/notes.txt"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.png"], [], ["a/1.png", "b/2.png"]),
        (["a"], [], ["a/1.png", "a/c/3.jpg"]),
        ([], ["c"], ["a/1.png", "b/2.png", "b/4.jpg"]),
        ([], ["a/*"], ["b/2.png", "b/4.jpg"]),
        (["*.jpg"], ["a/c"], ["b/4.jpg"]),
        (["[12].*"], ["b"], ["a/1.png"]),
    ],
)
def test_patterns(tmp_path: Path, include: list[str], exclude: list[str], expected: list[str]) -> None:
    make(tmp_path, "a/1.png", "b/2.png", "a/c/3.jpg", "b/4.jpg")
    counts = PassedOver()
    found = names(str(tmp_path), counts=counts, include=tuple(include), exclude=tuple(exclude))
    assert [Path(name).relative_to(tmp_path).as_posix() for name in found] == expected


def test_a_folder_that_is_given_by_two_ways_is_one(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / f"photos/{i}.png").write_bytes(b"")
    (tmp_path / "link").symlink_to("photos")
    counts = PassedOver()
    paths = tuple(str(tmp_path / name) for name in ("photos", "link", "link/1.png"))
    assert len(list(Inputs(paths=paths).samples(counts))) == 3
    assert counts.repeated == 4
    shards = [Inputs(paths=paths, shard=Shard(i, 3)).samples(PassedOver()) for i in (1, 2, 3)]
    assert sorted(Path(one.name).name for samples in shards for one in samples) == ["0.png", "1.png", "2.png"]


def test_a_file_that_is_given_twice_has_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "in/a.png", "in/b/c.png", "x.png")
    counts = PassedOver()
    found = names("in/b", "in", "./x.png", "x.png", "in/a.png", str(tmp_path / "in"), counts=counts)
    assert found == ["in/b/c.png", "in/a.png", "./x.png"]
    assert str(counts) == "passed over: 5 given twice"
    assert Inputs(paths=("in", "x.png")).count(threading.Event()) == 3
    assert names("-", stdin=io.BytesIO(b"x.png\nin/a.png\nx.png\n")) == ["x.png", "in/a.png"]


def test_an_image_under_another_name_is_one(tmp_path: Path) -> None:
    make(tmp_path, "photo.dat", "photo.txt")
    (tmp_path / "notes.txt").write_text("no image")
    counts = PassedOver()
    assert [Path(name).name for name in names(str(tmp_path), counts=counts)] == ["photo.dat", "photo.txt"]
    assert counts.suffixes == {".txt": 1}


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 9))
def test_shards_are_disjoint_and_complete(listed: list[str], n: int) -> None:
    parts = [{name for name in listed if Shard(i, n).holds(name)} for i in range(1, n + 1)]
    assert sum(map(len, parts)) == len(listed)
    assert set().union(*parts) == set(listed)


def test_shards_are_stable() -> None:
    """These numbers stand in results that people have: they may not change."""
    assert [next(i for i in (1, 2, 3, 4) if Shard(i, 4).holds(f"photos/{n}.jpg")) for n in range(8)] == STABLE


STABLE = [2, 4, 4, 1, 1, 4, 4, 1]


@pytest.mark.parametrize(("null", "separator"), [(False, b"\n"), (True, b"\0"), (False, b"\r\n")])
def test_a_list_on_stdin(tmp_path: Path, null: bool, separator: bytes) -> None:
    listed = [os.fsencode(tmp_path / name) for name in ("b.png", "a.txt", "with space.jpg")]
    stdin = io.BytesIO(separator.join(listed))
    assert names("-", null=null, stdin=stdin) == [os.fsdecode(name) for name in listed]


def test_cpu_quota(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    affinity = usable_cpus(tmp_path, tmp_path / "absent")
    own.write_text("0::/jobs/night\n")
    folder = tmp_path / "jobs" / "night"
    folder.mkdir(parents=True)
    for quota, expected in (
        ("max 100000", affinity),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("9900000 100000", affinity),
    ):
        (folder / "cpu.max").write_text(quota)
        assert usable_cpus(tmp_path, own) == expected
    (folder / "cpu.max").write_text("max 100000")
    (folder.parent / "cpu.max").write_text("100000 100000")
    assert usable_cpus(tmp_path, own) == 1
    (folder / "memory.max").write_text("max")
    assert memory_limit(tmp_path, own) is None
    (folder / "memory.max").write_text(str(1 << 30))
    assert memory_limit(tmp_path, own) == 1 << 30
    own.write_text("4:cpu,cpuacct:/old\n")
    (tmp_path / "cpu" / "old").mkdir(parents=True)
    (tmp_path / "cpu" / "old" / "cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu" / "old" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(tmp_path, own) == 1


def test_doctor_without_a_home_or_with_a_cache_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def refused(_: Path) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def cache() -> doctor.Diagnosis:
        return next(finding for finding in doctor.diagnose() if finding.subject == "cache")

    for name in ("TOOLKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert (cache().verdict, "no home" in cache().found) == (doctor.Verdict.OFF, True)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    assert cache().verdict is doctor.Verdict.OK
    monkeypatch.setattr(doctor, "cache_entries", refused)
    assert (cache().verdict, "Permission denied" in cache().found) == (doctor.Verdict.OFF, True)


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    key, model = "0123456789abcdef", "models/imagenet-0123456789ab-0123456789abcdef.onnx"
    ours = (f"flowers-{key}/{key}{key}.u8", model, f"archives/Pets-{key}/Cat/0.jpg")
    for place in (*ours, "models/of-somebody.onnx"):
        (tmp_path / "cache" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / place).write_bytes(bytes(1_000_000))
    done = run_cli("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    findings = {f["subject"]: f for f in json.loads(done.stdout)}
    assert findings["processors"]["found"].startswith(f"{usable_cpus()} ")
    assert findings["onnxruntime"]["verdict"] == "ok"
    assert findings["cache"]["found"].startswith(f"3 MB in {tmp_path / 'cache'}; ")
    trouble = cuda.problem()
    expected = ("ok", "usable", "") if trouble is None else ("off", *trouble)
    assert tuple(findings["CUDA"][key] for key in ("verdict", "found", "repair")) == expected
    assert expected[0] == "ok" or all(expected)
    assert "CUDA" in run_cli("doctor", cwd=tmp_path).stdout


def test_a_url_in_a_list_that_is_none_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "photos", 1)
    small.model(tmp_path / "model.onnx")
    listed = io.BytesIO(b"gs://\nphotos/Cat/0.png\ns3://me:word@bucket/x.png\naz://\n")
    done = infer(Inputs(paths=("-",), stdin=listed), Path("labels.csv"), Path("model.onnx"))
    assert (done.n_files, done.n_errors) == (4, 3)
    text = Path("labels.csv").read_text()
    assert 'gs://,,,,error,"cannot be read: this URL names no bucket, or holds credentials"' in text
    assert "word" not in text
