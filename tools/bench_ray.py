"""What `--engine ray` costs against the local engine at equal cores: `python tools/bench_ray.py IMAGES MODEL`

Both label `--few` and `--many` hard links to IMAGES, each as a whole process with `--workers` workers, in turns. The
time an image is (time of many - time of few) / (many - few): without what starting costs. Printed are the medians over
the rounds, and the overhead of Ray; the aim is at most 15 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_million import linked

from toolkit.core.machine import usable_cpus
from toolkit.data.walk import walk

ENGINES = ("local", "ray")


def seconds(images: Path, model: Path, out: Path, engine: str, workers: int) -> float:
    """One whole run."""
    command = [sys.executable, "-m", "toolkit", "infer", str(images), "--model", str(model), "--out", str(out)]
    begun = time.perf_counter()
    subprocess.run([*command, "--device", "cpu", "--engine", engine, "--workers", str(workers), "--quiet"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=usable_cpus())
    given = parser.parse_args()
    originals = [os.path.join(given.images, place) for place in walk(str(given.images))]
    each: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    starts: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR") or given.images.resolve().parent) as name:
        folders = [linked(Path(name) / str(n), originals, n) for n in (given.few, given.many)]
        for n in range(given.rounds):
            tables = {}
            for engine in ENGINES:
                out = Path(name) / f"{engine}-{n}.csv"
                few = seconds(folders[0], given.model, out.with_name(f"few-{out.name}"), engine, given.workers)
                many = seconds(folders[1], given.model, out, engine, given.workers)
                each[engine].append((many - few) / (given.many - given.few))
                starts[engine].append(few - given.few * each[engine][-1])
                tables[engine] = out.read_bytes()
            if len(set(tables.values())) != 1:
                raise SystemExit("the two engines wrote different tables")
    for engine in ENGINES:
        print(
            f"{engine:6} {1 / statistics.median(each[engine]):8,.0f} images/s  start-up "
            f"{statistics.median(starts[engine]):5.1f} s  ({' '.join(f'{1 / s:,.0f}' for s in each[engine])})"
        )
    ratio = statistics.median(b / a for a, b in zip(each["local"], each["ray"], strict=True))
    print(f"Ray takes {ratio:.3f} times as long an image (wanted <= 1.15)")


if __name__ == "__main__":
    main()
