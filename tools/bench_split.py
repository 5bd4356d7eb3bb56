"""`split` against a bare loop and against split-folders, on one tree in one run, medians.

    python tools/bench_split.py PETIMAGES [N_FILES] [ROUNDS]

Makes N_FILES (20,000) photos of at least 20 KB, all different: those of PETIMAGES, each copy with a comment of its own
in the JPEG. Then, in turns: a bare two-thread loop that reads, hashes and decodes them; `split --mode hardlink`;
`split --no-verify` with symbolic links and with copies, and split-folders likewise. Needs split-folders. (For links
split-folders reads no file at all; the stable rule needs every file's content.)
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import hashlib, sys, cv2, numpy as np
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
cv2.setNumThreads(1)
def one(chunk):
    for path in chunk:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        hashlib.sha256(data).hexdigest()
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
paths = [str(p) for p in Path(sys.argv[1]).rglob("*.jpg")]
with ThreadPoolExecutor(2) as pool:
    list(pool.map(one, [paths[i::200] for i in range(200)]))
"""
FOLDERS = """
import sys, splitfolders
move = "symlink" if sys.argv[3] == "symlink" else False
splitfolders.ratio(sys.argv[1], output=sys.argv[2], seed=1, ratio=(0.9, 0.1), move=move)
"""


def make_tree(pictures: Path, root: Path, n_files: int) -> None:
    """`n_files` photos of at least 20 KB in two class folders, no two with the same bytes."""
    photos = [p for p in sorted(pictures.rglob("*.jpg")) if p.stat().st_size >= 20_000]
    usable = [
        data for data in (p.read_bytes() for p in photos) if data[:3] == b"\xff\xd8\xff" and data[-2:] == b"\xff\xd9"
    ]
    for i in range(n_files):
        data = usable[i % len(usable)]
        comment = f"{i}".encode()
        target = root / ("Cat", "Dog")[i % 2] / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[2:])


def run(command: list[str], out: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of one process."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[:4]} failed: {process.stderr.read().decode() if process.stderr else ''}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main(pictures: str, n_files: str = "20000", rounds: str = "5") -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree, out = Path(folder) / "tree", Path(folder) / "out"
        make_tree(Path(pictures), tree, int(n_files))
        split = [sys.executable, "-m", "toolkit", "split", str(tree), "--out", str(out), "--quiet"]
        commands = {
            "bare loop": [sys.executable, "-c", BARE, str(tree)],
            "split, hard links": [*split, "--mode", "hardlink", "--workers", "2"],
            "split, symlinks, no verify": [*split, "--mode", "symlink", "--no-verify"],
            "split-folders, symlinks": [sys.executable, "-c", FOLDERS, str(tree), str(out), "symlink"],
            "split, copies, no verify": [*split, "--no-verify"],
            "split-folders, copies": [sys.executable, "-c", FOLDERS, str(tree), str(out), "copy"],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(int(rounds)):
            for name, command in commands.items():
                taken[name].append(run(command, out))
        medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in taken.items()}
        for name, seconds in medians.items():
            print(f"{name:28} {seconds:7.2f} s   {max(memory for _, memory in taken[name]):6.0f} MB at most")
        print(f"verified: {medians['split, hard links'] / medians['bare loop']:.2f} of the bare loop (at most 1.2)")
        for mode in ("symlinks", "copies"):
            ratio = medians[f"split, {mode}, no verify"] / medians[f"split-folders, {mode}"]
            print(f"headers only, {mode}: {ratio:.2f} of split-folders (at most 1)")


if __name__ == "__main__":
    main(*sys.argv[1:])
