"""Every command does its work where there is no network at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import small
from support.command_line import environment

CUT_OFF = (
    ["unshare", "--net"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
)

LOOKS = "import socket; print([name for _, name in socket.if_nameindex()])"

COMMANDS = [
    ["doctor"],
    ["check", "photos", "--out", "findings.csv", "--html", "findings.html"],
    ["split", "photos", "--ratio", "0.75", "--out", "parts"],
    ["recipe", "show", "fashion"],
    ["train", "parts", "--recipe", "fashion", "--epochs", "1", "--cache-dir", "cache", "--out", "model"],
    ["export", "model", "--onnx"],
    ["inspect", "model/model.onnx"],
    ["infer", "photos", "--out", "labels.csv"],
    ["infer", "photos/Cat/0.png"],
    ["evaluate", "parts", "--model", "model", "--out", "evaluation"],
    ["view", "labels.csv"],
    ["sort", "labels.csv", "--into", "sorted"],
    ["bench", "model", "photos", "--seconds", "1"],
    ["embed", "photos", "--model", "model/model.onnx", "--out", "features.npy"],
    ["adopt", "foreign.onnx", "--preset", "imagenet", "--labels", "labels.txt", "--out", "mine.onnx"],
    ["cache"],
]


def cut_off(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CUT_OFF, sys.executable, *command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_every_command_works_without_a_network(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    looked = cut_off("-c", LOOKS, cwd=tmp_path)
    if looked.returncode:
        pytest.skip(f"this user may not cut the network off: {looked.stderr.strip()}")
    assert looked.stdout.strip() in ("['lo']", "[]")
    small.folders(tmp_path / "photos", per_class=8)
    small.foreign_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    for command in COMMANDS:
        done = cut_off("-m", "toolkit", *command, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
