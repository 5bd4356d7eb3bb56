"""train and export with their real TensorFlow: killed, on a full disk; slow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import small
from support.command_line import ROOT, environment, run_cli
from support.disks import FILLER, leave, mounted
from support.train_crashes import RECIPE

from toolkit.model_files.bundle import load_bundle
from toolkit.model_files.contract_io import has_contract

Record = Callable[[str, object], None]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "export"])
def test_killed_before_its_changes(record_property: Record, command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.train_crashes", command],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    points = int(done.stdout.split()[-1])
    record_property("cases", points)
    assert points >= 6


@pytest.mark.slow
def test_train_and_export_on_a_full_disk(record_property: Record, tmp_path: Path) -> None:
    """Full from the beginning, in the middle, and near the end: said with the path; then the same command completes."""
    small.folders(tmp_path / "photos", 6)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train = ("train", "photos", "--recipe", "tiny.toml", "--out", "disk/model", "--cache-dir", "disk/cache", "--resume")
    export = ("export", "disk/model", "--onnx", "--tflite", "--savedmodel")
    tried = 0
    with mounted(tmp_path / "disk", "8m") as disk:
        for command, made in ((train, "bundle.json"), (export, "model.onnx")):
            for free in (0, 200 << 10):
                leave(disk, free)
                done = run_cli(*command, cwd=tmp_path)
                assert done.returncode in (0, 8), done.stderr
                tried += 1
                if done.returncode == 0:
                    break
                assert "disk/" in done.stderr, done.stderr
                assert "bug" not in done.stderr
                assert not (disk / "model" / made).exists()
                if command is export:
                    load_bundle(disk / "model")
            assert tried, "it never was full"
            (disk / FILLER).unlink()
            done = run_cli(*command, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert has_contract(disk / "model" / "model.onnx")
        left = [p.name for p in disk.rglob("*") if p.name.startswith(".") or p.name.endswith((".partial", ".tmp"))]
        assert left == []
    record_property("cases", tried)


@pytest.mark.slow
def test_two_trainings_at_once(record_property: Record, tmp_path: Path) -> None:
    """On one cache both give what one alone gives; on one output the second ends with 7, and the first is unharmed."""
    small.folders(tmp_path / "photos", 6)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    line = [sys.executable, "-m", "toolkit", "train", "photos", "--recipe", "tiny.toml", "--cache-dir", "cache"]
    running = [
        subprocess.Popen([*line, "--out", out], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
        for out in ("a", "b", "b")
    ]
    said = [process.communicate()[1] for process in running]
    assert running[0].returncode == 0, said
    assert sorted(process.returncode for process in running[1:]) == [0, 7], said
    one, other = (load_bundle(tmp_path / out) for out in ("a", "b"))
    assert one.contract.fingerprint == other.contract.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "cache", "photos", "tiny.toml"]
    assert not [path.name for path in tmp_path.rglob("*") if ".tmp" in path.name]
    record_property("cases", 3)
