"""`split` against a bare loop and against split-folders, on one tree in one run, medians.

    python tools/bench_split.py PETIMAGES [--files 20000] [--rounds 3] [--tree FOLDER] [--only WORD]

Makes a tree of different photos of at least 20 KB, each another part of one of PETIMAGES (once, where `--tree` keeps
it). Then, in turns, each into a new folder: a bare loop that reads, hashes and decodes them in two threads; `split
--mode hardlink`; a bare loop that reads and hashes them; `split --no-verify` with copies, symbolic links and moves, and
split-folders likewise. Needs split-folders. For links and moves split-folders reads no file at all; the stable rule
needs every file's content, so that the bare loop that reads and hashes is the bound there.

Seen on two cores, 20,000 photos of 38 KB, split-folders 0.6.1: verified 1.18 of the bare loop, 91 MB; copies 0.88 of
split-folders; symbolic links 1.55 and moves 2.02 of it, which is 2.0 times reading and hashing alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

BARE = """
import hashlib, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
decode = sys.argv[2] == "decode"
if decode:
    import cv2, numpy as np
    cv2.setNumThreads(1)
def one(chunk):
    for path in chunk:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        hashlib.sha256(data).hexdigest()
        if decode:
            assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
paths = [str(p) for p in Path(sys.argv[1]).rglob("*.jpg")]
with ThreadPoolExecutor(2) as pool:
    list(pool.map(one, [paths[i::200] for i in range(200)]))
"""
FOLDERS = """
import sys, splitfolders
mode = {"copy": "copy", "move": "move", "symlink": "symlink"}[sys.argv[3]]
splitfolders.ratio(sys.argv[1], output=sys.argv[2], seed=1, ratio=(0.9, 0.1), move=mode)
"""


def make_tree(images: Path, root: Path, n_files: int) -> None:
    """`n_files` photos of at least 20 KB in two class folders: parts of real ones, no two alike."""
    contents = (path.read_bytes() for path in sorted(images.rglob("*.jpg")))
    photos = [data for data in contents if len(data) >= 20_000]
    seen: set[bytes] = set()
    for label in ("Cat", "Dog"):
        (root / label).mkdir(parents=True)

    def make(i: int) -> None:
        nth, photo = divmod(i, len(photos))
        pixels = cv2.imdecode(np.frombuffer(photos[photo], np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            return
        height, width = (int(side * 0.99 ** (nth + 1)) for side in pixels.shape[:2])
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        part = pixels[top : top + height, left : left + width]
        sizes = (cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, q])[1].tobytes() for q in (90, 95, 98))
        data = next((data for data in sizes if len(data) >= 20_000), None)
        if data and (digest := hashlib.sha256(data).digest()) not in seen:
            seen.add(digest)
            (root / ("Cat", "Dog")[i % 2] / f"{i}.jpg").write_bytes(data)

    with ThreadPoolExecutor() as pool:
        tried = made = 0
        while made < n_files:
            list(pool.map(make, range(tried, tried + n_files - made)))
            tried += n_files - made
            made = sum(1 for _ in root.rglob("*.jpg"))


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of one process."""
    os.sync()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[:4]} failed: {process.stderr.read().decode() if process.stderr else ''}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def commands(tree: Path, out: Path) -> dict[str, list[str]]:
    """Name -> what is run."""
    python = sys.executable
    split = [python, "-m", "toolkit", "split", str(tree), "--out", str(out), "--quiet", "--ratio", "0.9"]
    found = {
        "bare loop, verified": [python, "-c", BARE, str(tree), "decode"],
        "split hardlink, verified": [*split, "--mode", "hardlink", "--workers", "2"],
        "bare loop": [python, "-c", BARE, str(tree), "hash"],
    }
    for mode in ("copy", "symlink", "move"):
        found[f"split {mode}"] = [*split, "--mode", mode, "--no-verify"]
        found[f"split-folders {mode}"] = [python, "-c", FOLDERS, str(tree), str(out), mode]
    return found


def measure(tree: Path, work: Path, rounds: int, only: str) -> dict[str, list[tuple[float, float]]]:
    """Name -> seconds and memory of each round. The folders made stay until the end: files that have just been deleted
    make the file system search longer for room."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for nth in range(rounds):
        for name in commands(tree, work):
            if only not in name:
                continue
            place = work / f"{nth} {name}"
            place.mkdir()
            source = tree
            if name.endswith("move"):
                source = place / tree.name
                shutil.copytree(tree, source)
            taken.setdefault(name, []).append(run(commands(source, place / "out")[name]))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tree", type=Path, help="make the tree here, or take what was made here before")
    parser.add_argument("--only", default="", help="what the names of the commands to run contain")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.tree and arguments.tree.parent) as folder:
        tree: Path = arguments.tree or Path(folder) / "tree"
        if not tree.exists():
            make_tree(arguments.images, tree, arguments.files)
        if not arguments.rounds:
            return
        taken = measure(tree, Path(folder), arguments.rounds, arguments.only)
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in taken.items()}
    for name, seconds in medians.items():
        print(f"{name:26} {seconds:7.2f} s   {max(memory for _, memory in taken[name]):6.0f} MB at most")
    for name, other, most in (
        ("split hardlink, verified", "bare loop, verified", "at most 1.2"),
        ("split copy", "split-folders copy", "at most 1"),
        ("split symlink", "split-folders symlink", ""),
        ("split symlink", "bare loop", ""),
        ("split move", "split-folders move", ""),
    ):
        if name in medians and other in medians:
            print(f"{name} / {other}: {medians[name] / medians[other]:.2f} {most}")


if __name__ == "__main__":
    main()
