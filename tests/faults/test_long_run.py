"""Two million inferences in one process: memory, threads and open files stay what they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import small
from support.command_line import environment
from support.onnx_networks import contract, write_mean_network

PROGRAM = """
import json, os, sys, threading
from pathlib import Path
import numpy as np
import toolkit

ROUNDS, ARRAYS = 20, 99_000
model = toolkit.load("model.onnx")
files = sorted(map(str, Path("photos").rglob("*.png")))
paths = (files * 1000)[:1000]
arrays = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 3), np.uint8)

def taken():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return [resident, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))]

n_rows = n_errors = 0
states = []
for _ in range(ROUNDS):
    for images in [paths, *[arrays] * (ARRAYS // 1000)]:
        found = model.predict(images)
        n_rows += len(found.probabilities)
        n_errors += sum(map(bool, found.errors))
    states.append(taken())
print(json.dumps([n_rows, n_errors, states]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process takes is read from /proc")
def test_two_million_inferences_leave_nothing_behind(tmp_path: Path) -> None:
    write_mean_network(tmp_path / "model.onnx", contract(size=8))
    small.folders(tmp_path / "photos")
    (tmp_path / "photos" / "Cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    n_rows, n_errors, states = json.loads(done.stdout)
    assert n_rows == 2_000_000
    assert 2_000 < n_errors < 2_500  # one of nine files is broken: each of 20 rounds reads 1,000
    memory, threads, handles = zip(*states, strict=True)
    print(f"resident after each 100,000: {[value >> 20 for value in memory]} MiB, {threads[-1]} threads")
    assert max(memory[4:]) - memory[3] < 16 << 20
    assert len(set(threads)) == 1
    assert len(set(handles)) == 1
