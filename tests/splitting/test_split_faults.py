"""`split` under real faults: killed, two at once, a full disk."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import environment, run_cli
from support.disks import mounted

from toolkit.splitting.table import PLAN

N_IMAGES = 200


@pytest.fixture
def pets(pet_images: Path, tmp_path: Path) -> Path:
    """Photos of cats and dogs: few enough to be quick, enough to be killed on the way."""
    root = tmp_path / "pets"
    for label in ("Cat", "Dog"):
        (root / label).mkdir(parents=True)
        usable = [path for path in sorted((pet_images / label).glob("*.jpg")) if path.stat().st_size]
        for path in usable[: N_IMAGES // 2]:
            shutil.copy2(path, root / label)
    return root


def tree(out: Path) -> dict[str, bytes]:
    """Every file of a split, hidden ones too, with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def command(pets: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "toolkit", "split", str(pets), "--out", str(out), "--quiet", "--no-verify", *options]


def assigned(out: Path) -> dict[str, tuple[str, str]]:
    """Path in the source -> subset and place, of the images that are in one."""
    with (out / "split.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: (row["subset"], row["target"]) for row in csv.DictReader(file) if row["subset"]}


def n_placed(out: Path) -> int:
    return sum(1 for _ in out.glob("*/*/*.jpg"))


def start_until(pets: Path, out: Path, n_files: int, *options: str) -> subprocess.Popen[bytes]:
    """A running split that has placed at least `n_files`; -1 is the moment when the folder is held, before the plan."""
    process = subprocess.Popen(command(pets, out, *options), env=environment())
    while process.poll() is None:
        if (out / ".split.lock").exists() if n_files < 0 else (out / PLAN).exists() and n_placed(out) >= n_files:
            break
        time.sleep(0.0005)
    return process


@pytest.mark.parametrize("mode", ["copy", "move"])
@pytest.mark.parametrize("n_files", [-1, 0, 20])
def test_killed_and_started_again_it_is_as_if_nothing_had_happened(
    pets: Path, tmp_path: Path, mode: str, n_files: int
) -> None:
    whole = tmp_path / "whole"
    subprocess.run(command(pets, whole), env=environment(), check=True)
    for attempt in range(5):  # a run that is through before the signal comes tells nothing
        source, out = tmp_path / f"{attempt}/pets", tmp_path / f"{attempt}/out"
        shutil.copytree(pets, source)
        process = start_until(source, out, n_files, "--mode", mode)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and not (out / "split.csv").exists():
            break
    else:
        pytest.fail("never killed in time")
    subprocess.run(command(source, out, "--mode", mode), env=environment(), check=True)
    expected, found = tree(whole), tree(out)
    del expected["split.json"], found["split.json"]
    assert found == expected


@pytest.mark.parametrize("n_new", [-1, 0, 20])
def test_an_update_that_was_killed_is_completed_and_moves_nothing(pets: Path, tmp_path: Path, n_new: int) -> None:
    later = [path for place, path in enumerate(sorted(pets.rglob("*.jpg"))) if place % 4]
    for attempt in range(5):
        source, out = tmp_path / f"{attempt}/pets", tmp_path / f"{attempt}/out"
        shutil.copytree(pets, source)
        for path in later:
            (source / path.relative_to(pets)).unlink()
        subprocess.run(command(source, out), env=environment(), check=True)
        before = assigned(out)
        for path in later:
            shutil.copy2(path, source / path.relative_to(pets))
        whole = shutil.copytree(out, tmp_path / f"{attempt}/whole")
        n_before = n_placed(out)
        process = start_until(source, out, n_new if n_new < 0 else n_before + n_new, "--update")
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and (n_new < 0 or (out / PLAN).exists()):
            break
    else:
        pytest.fail("never killed in time")
    subprocess.run(command(source, whole, "--update"), env=environment(), check=True)
    plain = run_cli("split", source, "--out", out, "--no-verify", cwd=tmp_path)
    if n_new >= 0:
        assert plain.returncode == 3
        assert "--update" in plain.stderr
    subprocess.run(command(source, out, "--update"), env=environment(), check=True)
    after = assigned(out)
    assert len(after) > len(before)
    assert {path: after[path] for path in before} == before
    expected, found = tree(whole), tree(out)
    del expected["split.json"], found["split.json"]
    assert found == expected


def test_moving_to_another_disk_loses_nothing_when_it_is_killed(pets: Path, other_disk: Path) -> None:
    contents = sorted(path.read_bytes() for path in pets.rglob("*.jpg"))
    for attempt in range(5):
        source, out = pets.with_name(f"{attempt}"), other_disk / f"{attempt}"
        shutil.copytree(pets, source)
        process = start_until(source, out, 20, "--mode", "move")
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        left = [path.read_bytes() for folder in (source, out) for path in folder.rglob("*.jpg")]
        assert set(left) == set(contents)
        if killed and not (out / "split.csv").exists():
            break
    else:
        pytest.fail("never killed in time")
    subprocess.run(command(source, out, "--mode", "move"), env=environment(), check=True)
    placed = [path.read_bytes() for path in out.rglob("*.jpg")]
    left = [path.read_bytes() for path in source.rglob("*.jpg")]
    assert sorted(placed + left) == contents
    assert len(placed) == len(assigned(out))
    assert not list(out.rglob(".placing*"))


def test_a_hard_link_to_another_disk_is_a_plain_error(pets: Path, other_disk: Path) -> None:
    done = run_cli("split", pets, "--out", other_disk / "out", "--no-verify", "--mode", "hardlink", cwd=other_disk)
    assert done.returncode == 8, done.stderr
    assert "--mode copy" in done.stderr
    assert not (other_disk / "out/split.csv").exists()
    subprocess.run(command(pets, other_disk / "out"), env=environment(), check=True)
    assert n_placed(other_disk / "out") == len(assigned(other_disk / "out"))


def test_two_at_once(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start_until(pets, out, -1)
    first.send_signal(signal.SIGSTOP)
    try:
        second = run_cli("split", pets, "--out", out, cwd=tmp_path)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 7
    assert "another run" in second.stderr
    assert first.wait() == 0
    assert n_placed(out) > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with mounted(tmp_path / "disk", "2m") as disk:
        yield disk


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room, and another one than that of the images."""
    with mounted(tmp_path / "disk", "200m") as disk:
        yield disk


def test_a_full_disk_is_a_plain_error_and_is_completed_when_there_is_room(pets: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    full = run_cli("split", pets, "--out", out, "--no-verify", cwd=small_disk)
    assert full.returncode == 8, full.stderr
    assert "space" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (out / "split.csv").exists()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    done = run_cli("split", pets, "--out", out, "--no-verify", cwd=small_disk)
    assert done.returncode == 0, done.stderr
    whole = small_disk / "whole"
    subprocess.run(command(pets, whole), env=environment(), check=True)
    expected, found = tree(whole), tree(out)
    del expected["split.json"], found["split.json"]
    assert found == expected
