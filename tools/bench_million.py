"""Whether `toolkit infer` costs per image what it costs at 10,000: `python tools/bench_million.py FOLDER MODEL [N]`

N hard links (default 1,000,000) to a few hundred small images of FOLDER are labelled in one run. Printed are, for
10,000 and for N: time and processor time an image, start-up aside, and the peak memory; then `--update` over the
unchanged N against listing and stat-ing the same files. Wants: cost within 10 %, peak memory <= 1.3 times + 200 bytes
a file, `--update` <= 3 times. On a machine with other work the processor time is the number to look at.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from toolkit.data.walk import walk

SMALL = 10_000
ORIGINALS = 300
IN_A_FOLDER = 5_000

LIST_AND_STAT = """
import os, sys
n = 0
for folder, folders, files in os.walk(sys.argv[1]):
    for name in files:
        n += os.stat(os.path.join(folder, name)).st_size > 0
"""


@dataclass(frozen=True)
class Cost:
    """What a process with its children took: seconds on the clock, seconds of processor, bytes at the peaks of all."""

    wall: float
    cpu: float
    peak: int


def cost(*arguments: str) -> Cost:
    """Run Python with `arguments` to its end."""
    begun = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=quiet)
    peaks: dict[str, int] = {}
    while not (ended := os.wait4(process, os.WNOHANG))[0]:
        peaks |= peak_memories(str(process))
        time.sleep(0.02)
    _, status, usage = ended
    if status:
        raise SystemExit(f"{' '.join(arguments)}: ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, sum(peaks.values()))


def peak_memories(pid: str) -> dict[str, int]:
    """The highest resident memory so far of a process and of its children, bytes; what they share counts for each."""
    found = {}
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        found[pid] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found |= peak_memories(child)
    except (OSError, IndexError):  # it has just ended
        pass
    return found


def infer(folder: Path, model: str, out: Path, *more: str) -> Cost:
    return cost("-m", "toolkit", "infer", str(folder), "--model", model, "--out", str(out), *more)


def linked(folder: Path, originals: list[str], n: int) -> Path:
    """A folder with `n` hard links."""
    for i in range(n):
        if i % IN_A_FOLDER == 0:
            inner = folder / f"{i // IN_A_FOLDER:04}"
            inner.mkdir(parents=True)
        original = originals[i % len(originals)]
        os.link(original, inner / f"{i:07}{os.path.splitext(original)[1]}")
    return folder


def main() -> None:
    source, model, *rest = sys.argv[1:]
    n = int(rest[0]) if rest else 1_000_000
    originals = [os.path.join(source, place) for place in islice(walk(source), ORIGINALS)]
    # Hard links do not cross file systems, so the folder is made beside the images unless TMPDIR says otherwise.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR") or Path(source).resolve().parent) as name:
        base = Path(name)
        few = linked(base / "few", originals, SMALL)
        one = linked(base / "one", originals, 1)
        start = infer(one, model, base / "one.csv")
        small = infer(few, model, base / "few.csv")
        many = linked(base / "many", originals, n)
        large = infer(many, model, base / "many.csv")
        again = infer(many, model, base / "many.csv", "--update")
        bare = cost("-c", LIST_AND_STAT, str(many))
    for count, side in ((SMALL, small), (n, large)):
        print(
            f"{count:>9,} files  {(side.wall - start.wall) / count * 1e6:6.0f} us, processor "
            f"{(side.cpu - start.cpu) / count * 1e6:6.0f} us an image  peak {side.peak / 1e6:6.0f} MB"
        )
    ratio = (large.cpu - start.cpu) / n / ((small.cpu - start.cpu) / SMALL)
    print(
        f"processor time an image {ratio:.3f} (wanted <= 1.1)  "
        f"peak memory {large.peak / (1.3 * small.peak + 200 * n):.3f} of what is allowed"
    )
    print(
        f"--update {again.wall:.2f} s, processor {again.cpu:.2f} s; list and stat {bare.wall:.2f} s, processor "
        f"{bare.cpu:.2f} s; ratio {again.wall / bare.wall:.2f}, processor {again.cpu / bare.cpu:.2f} (wanted <= 3)"
    )


if __name__ == "__main__":
    main()
