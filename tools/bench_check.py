"""`check`, near copies included, on many small images: seconds and peak memory, and how they grow.

    python tools/bench_check.py FOLDER [FOLDER ...] [--sizes 10000 100000]

Takes the PNGs of the folders in a fixed random order, the same share of each, and where they are too few, brighter and
darker copies of them (which are near copies, to be found). Each size is one process of its own.

Seen on two cores, cells and clothes: 10,000 in 12 s and 206 MB, 100,000 in 171 s and 850 MB.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np


def make_tree(folders: list[Path], root: Path, n_images: int) -> None:
    """`n_images` in class folders below `root`, hard links where the disk allows it."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.png"))
    random.Random(0).shuffle(paths)
    for i in range(n_images):
        path = paths[i % len(paths)]
        target = root / path.parent.name / f"{path.stem}-{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        if i >= len(paths):
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if pixels is None:
                raise SystemExit(f"{path}: cannot be decoded")
            factor = 0.8 if i % 2 else 1.15
            cv2.imwrite(str(target), np.clip(pixels * factor, 0, 255).astype(np.uint8))
            continue
        try:
            os.link(path, target)
        except OSError:
            target.write_bytes(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000])
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            tree, table = Path(folder) / "tree", Path(folder) / "findings.csv"
            make_tree(arguments.folders, tree, size)
            command = [sys.executable, "-m", "toolkit", "check", str(tree), "--quiet", "--out", str(table)]
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                raise SystemExit(f"{command[1:4]} failed")
            with table.open(newline="", encoding="utf-8") as file:
                found = Counter(row["kind"] for row in csv.DictReader(file))
        near = ", ".join(f"{kind} {n:,}" for kind, n in found.most_common(4))
        print(f"{size:8,} images {seconds:7.1f} s {usage.ru_maxrss / 1024:6.0f} MB   {near}", flush=True)


if __name__ == "__main__":
    main()
