"""The clock turned back, memory gone, two runs at once: split, check, train's data, evaluate, infer, embed, sort."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import small
from support.command_line import Cli, environment, run_cli
from support.train_crashes import RECIPE
from support.two_at_once import ends_at_once

from toolkit.core.errors import MachineError
from toolkit.images import decode as decoding
from toolkit.images.spec import Preprocess
from toolkit.model_files.bundle import load_bundle
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import Decoded, decode_all

Record = Callable[[str, object], None]

MODEL = ("--model", "model.onnx")
COMMANDS: dict[str, tuple[str, ...]] = {
    "split": ("split", "photos", "--out", "out/parts", "--ratio", "0.5", "--update"),
    "check": ("check", "photos", "--out", "out/findings.csv"),
    "infer": ("infer", "photos", *MODEL, "--out", "out/labels.csv", "--update", "--workers", "2"),
    "evaluate": ("evaluate", "photos", *MODEL, "--out", "out/reports"),
    "embed": ("embed", "photos", *MODEL, "--out", "out/features.npy"),
    "sort": ("sort", "labels.csv", "--into", "out/sorted"),
}
SPEC = Preprocess(height=8, width=8)


@pytest.fixture
def place(tmp_path: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    small.folders(tmp_path / "photos", 6)
    small.model(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(root: Path) -> dict[str, bytes | str]:
    """What a command wrote, without what holds a time or a duration."""
    found = small.tree(root)
    return {name: data for name, data in found.items() if name.endswith((".csv", ".npy", ".png"))}


# --- the clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_clock_goes_back_while_it_runs(name: str, place: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("infer", "photos", *MODEL, "--out", "labels.csv").code == 0
    assert run(*COMMANDS[name]).code == 0
    expected = outputs(place / "out")
    shutil.rmtree(place / "out")
    now = [time.time()]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
    assert run(*COMMANDS[name]).code == 0
    assert outputs(place / "out") == expected
    again = run(*COMMANDS[name])
    assert again.code == 0, again.err
    assert outputs(place / "out") == expected


def other_of_the_same_size(path: Path) -> None:
    """Other pixels in a file of the same size, and older than before: as after a copy with `cp -p` of an older file."""
    size, mtime_ns = path.stat().st_size, path.stat().st_mtime_ns
    data = next(data for data in map(small.png, range(1000, 3000)) if len(data) <= size)
    path.write_bytes(data + bytes(size - len(data)))
    os.utime(path, ns=(mtime_ns - 10**18, mtime_ns - 10**18))


@pytest.mark.parametrize("name", ["split", "infer", "evaluate", "embed"])
def test_an_older_file_of_the_same_size_is_seen(name: str, place: Path, run: Cli) -> None:
    assert run(*COMMANDS[name]).code == 0
    before = outputs(place / "out")
    other_of_the_same_size(place / "photos" / "Cat" / "0.png")
    assert run(*COMMANDS[name]).code == 0
    after = outputs(place / "out")
    assert after != before
    shutil.rmtree(place / "out")
    if name != "split":  # there the earlier split's other images keep their places
        assert run(*COMMANDS[name]).code == 0
        assert outputs(place / "out") == after


def test_the_cache_of_a_training_sees_an_older_file_of_the_same_size(place: Path) -> None:
    def digests() -> list[str]:
        decoded = decode_all(find_dataset(place / "photos"), SPEC, place / "cache")
        return [found.digest for found in decoded.samples]

    before = digests()
    other_of_the_same_size(place / "photos" / "Cat" / "0.png")
    after = digests()
    assert [old != new for old, new in zip(before, after, strict=True)] == [True] + [False] * 11


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["split", "check", "infer", "evaluate", "embed"])
@pytest.mark.parametrize("kind", ["Python", "OpenCV"])
def test_memory_that_is_gone_in_a_worker(
    name: str, kind: str, place: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third image finds none: it is said, nothing is written that is wrong, and the next run does it."""
    assert run("infer", "photos", *MODEL, "--out", "labels.csv").code == 0
    assert run(*COMMANDS[name]).code == 0
    expected = outputs(place / "out")
    shutil.rmtree(place / "out")
    calls = []
    real = cv2.imdecode

    def hungry(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            if kind == "Python":
                raise MemoryError
            raise cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes")
        return real(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imdecode", hungry)
    done = run(*COMMANDS[name])
    monkeypatch.setattr(cv2, "imdecode", real)
    assert len(calls) >= 3
    assert done.code in (0, 8), done.err
    assert "bug" not in done.err
    again = run(*COMMANDS[name], *(["--force"] if name == "check" else []))
    assert again.code == 0, again.err
    assert outputs(place / "out") == expected
    assert not [path.name for path in place.rglob("*") if path.name.endswith((".tmp", ".partial"))]


@pytest.mark.parametrize("kind", ["Python", "OpenCV"])
def test_memory_that_is_gone_while_a_training_decodes(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, cache = find_dataset(place / "photos"), place / "cache"
    expected = decode_all(dataset, SPEC, place / "other").path.read_bytes()
    calls = []
    real = cv2.imdecode

    def hungry(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError if kind == "Python" else cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes")
        return real(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imdecode", hungry)
    with suppress(MemoryError, MachineError):
        decode_all(dataset, SPEC, cache)
    assert len(calls) >= 3
    monkeypatch.setattr(cv2, "imdecode", real)
    assert not [path for path in cache.rglob("*") if ".tmp" in path.name]
    again = decode_all(dataset, SPEC, cache)
    assert again.path.read_bytes() == expected
    assert not any(sample.reason for sample in again.samples)


CGROUP = Path("/sys/fs/cgroup")


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[Callable[[int, list[str]], int]]:
    """Run a command in a container's memory: the system kills it where it takes more."""
    first = CGROUP / "memory" if (CGROUP / "memory").is_dir() else CGROUP
    group = first / f"toolkit-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group of processes with a limit can be made here: {error.strerror}")
    limit = next((group / n for n in ("memory.limit_in_bytes", "memory.max") if (group / n).exists()), None)
    if limit is None:
        group.rmdir()
        pytest.skip("this system has no limits of memory for groups of processes")

    def run(n_bytes: int, command: list[str]) -> int:
        limit.write_text(str(n_bytes))
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        return subprocess.run(
            ["sh", "-c", enter, "sh", *command],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode

    yield run
    group.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_for_its_memory(
    record_property: Record, name: str, place: Path, run: Cli, confined: Callable[[int, list[str]], int]
) -> None:
    """By the system's OOM killer, at several sizes: what was whole stays, the same command completes."""
    assert run("infer", "photos", *MODEL, "--out", "labels.csv").code == 0
    assert run(*COMMANDS[name]).code == 0
    expected = outputs(place / "out")
    shutil.rmtree(place / "out")
    codes = []
    for megabytes in (30, 60, 90, 130, 200):
        codes.append(confined(megabytes << 20, [sys.executable, "-m", "toolkit", *COMMANDS[name]]))
        assert codes[-1] in (0, 8, -9), codes
        again = run(*COMMANDS[name])
        assert again.code == 0, again.err
        assert outputs(place / "out") == expected
        assert not [path.name for path in place.rglob("*") if path.name.endswith((".tmp", ".partial"))]
        shutil.rmtree(place / "out")
    record_property("cases", len(codes))
    assert -9 in codes, "it was never killed"


@pytest.mark.slow
def test_a_training_killed_for_its_memory(
    record_property: Record, place: Path, run: Cli, confined: Callable[[int, list[str]], int]
) -> None:
    """While TensorFlow is loaded, and later: no bundle, nothing whole is lost, and --resume completes."""
    (place / "tiny.toml").write_text(RECIPE)
    line = ("train", "photos", "--recipe", "tiny.toml", "--out", "out/model", "--cache-dir", "cache", "--resume")
    codes = []
    for megabytes in (60, 150, 300):
        codes.append(confined(megabytes << 20, [sys.executable, "-m", "toolkit", *line]))
        assert codes[-1] in (0, 8, -9), codes
        if codes[-1]:
            assert not (place / "out" / "model").exists()
    record_property("cases", len(codes))
    assert -9 in codes, "it was never killed"
    done = run_cli(*line, cwd=place)
    assert done.returncode == 0, done.stderr
    load_bundle(place / "out" / "model")
    assert sorted(path.name for path in (place / "out").iterdir()) == ["model"]
    assert not [path.name for path in place.rglob("*") if ".tmp" in path.name]


# --- two at once ---------------------------------------------------------------------------------------------------

HELD = {
    "split": "out/parts/.split.lock",
    "check": "out/findings.csv.lock",
    "infer": "out/labels.csv.lock",
    "evaluate": "out/reports.lock",
    "embed": "out/features.npy.lock",
    "sort": "out/sorted.lock",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_run_ends_at_once_and_changes_nothing(name: str, place: Path, run: Cli) -> None:
    assert run("infer", "photos", *MODEL, "--out", "labels.csv").code == 0
    assert run(*COMMANDS[name]).code == 0
    (place / "photos" / "Cat" / "new.png").write_bytes(small.png(77))
    ends_at_once(run, COMMANDS[name], place / "out", place / HELD[name])


def test_two_trainings_of_the_same_images_leave_each_other_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is held up before its last image while another, and one of more images, run from beginning to end."""
    dataset, cache = find_dataset(place / "photos"), place / "cache"
    held, go = threading.Event(), threading.Event()
    real = decoding.decode

    def waiting(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith("slow"):
            held.set()
            assert go.wait(30)
        return real(*arguments, **options)

    def slow() -> Decoded:
        return decode_all(dataset, SPEC, cache, workers=1)

    monkeypatch.setattr("toolkit.training.data.decode_cache.decode", waiting)
    monkeypatch.setattr(
        "toolkit.training.data.decode_cache.ThreadPoolExecutor",
        lambda n: ThreadPoolExecutor(n, "slow" if threading.current_thread().name == "first_0" else "fast"),
    )
    with ThreadPoolExecutor(1, "first") as first:
        waited_for = first.submit(slow)
        assert held.wait(30)
        quick = decode_all(dataset, SPEC, cache)
        (place / "photos" / "Cat" / "new.png").write_bytes(small.png(77))
        more = decode_all(find_dataset(place / "photos"), SPEC, cache)
        go.set()
        found = waited_for.result(30)
    every = np.arange(12)
    assert (found.rows.take(every) == quick.rows.take(every)).all()  # though its file has gone: the images are others
    assert len(more.samples) == 13
    assert not [path for path in cache.rglob("*") if ".tmp" in path.name]


def test_what_a_killed_training_was_decoding_goes(place: Path) -> None:
    decoded = decode_all(find_dataset(place / "photos"), SPEC, place / "cache")
    left = [decoded.path.with_name(f".{'0' * 32}{end}") for end in (".u8.abcdefgh.tmp.u8", "-12.f32.a_c0efgh.tmp.f32")]
    for path in left:
        path.write_bytes(b"half")
    (place / "photos" / "Cat" / "new.png").write_bytes(small.png(77))
    decode_all(find_dataset(place / "photos"), SPEC, place / "cache")
    assert not [path for path in left if path.exists()]


def test_an_image_that_found_no_memory_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> object:
        error = cv2.error("Insufficient memory")
        error.code, error.err = cv2.Error.StsNoMem, "Insufficient memory"
        raise error

    monkeypatch.setattr(cv2, "imdecode", hungry)
    monkeypatch.setattr(decoding, "second_try", lambda _again, _header, error: pytest.fail(error.message))
    with pytest.raises(pytest.fail.Exception, match="memory that was free: the PNG"):
        decoding.decode(small.png(1), SPEC)
