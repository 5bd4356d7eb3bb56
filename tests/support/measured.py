"""Decode files one at a time, each in a process of its own, and say what it took: `python -m support.measured F…`

One line of JSON for each file: name, outcome ("decoded" or the kind of error), growth of resident memory in bytes,
seconds of processor. The process is forked after everything is imported and one image is decoded, so that only the
file itself is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.command_line import environment

LIMIT_S = 60
"""A decode that takes longer is ended."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one decode took.

    Attributes:
        name: of the file.
        outcome: "decoded", the kind of a `DecodeError`, or "killed" and "crashed".
        message: of the error.
        growth: bytes of resident memory at the peak, more than before.
        seconds: of processor.
    """

    name: str
    outcome: str
    message: str
    growth: int
    seconds: float


def measure(paths: Iterable[Path], *, side: int = 224) -> list[Taken]:
    """Decode each file for a network of `side`x`side` and say what it took."""
    command = [sys.executable, "-m", "support.measured", str(side), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return [Taken(**json.loads(line)) for line in done.stdout.splitlines()]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command took.

    Attributes:
        code: its exit code.
        peak: the most bytes of memory that it and its children had at once; what several of them share counts once.
        seconds: of processor, of it and its children.
        said: what it wrote to stderr.
    """

    code: int
    peak: int
    seconds: float
    said: str


def run_measured(command: Sequence[str | Path], cwd: Path) -> Ran:
    """Run a command to its end, and look at its memory twenty times a second."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*map(str, command)], cwd=cwd, stderr=said, env=environment())
        most = 0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            family = _family(process.pid)
            most = max(most, sum(map(_held, family)), *map(_highest, family))
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    return Ran(process.returncode, most, usage.ru_utime + usage.ru_stime, text)


def _family(pid: int) -> list[int]:
    """A process and all that came of it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _held(pid: int) -> int:
    """Bytes of memory of a process, its share of what it has together with others."""
    return _number(f"/proc/{pid}/smaps_rollup", "Pss:")


def _highest(pid: int) -> int:
    """The most bytes of memory that a process has had, as the system has seen it between two looks."""
    return _number(f"/proc/{pid}/status", "VmHWM:")


def _number(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _one(path: Path, side: int) -> dict[str, object]:
    from toolkit.images.decode import decode, verify
    from toolkit.images.header import DecodeError
    from toolkit.images.spec import Preprocess

    outcome, message = "decoded", ""
    before, seconds = _peak(), 0.0
    data = path.read_bytes()
    for work in (lambda: decode(data, Preprocess(height=side, width=side)), lambda: verify(data)):
        begun = time.process_time()
        try:
            work()
        except DecodeError as error:
            outcome, message = error.kind, error.message
        seconds = max(seconds, time.process_time() - begun)
    return {"name": path.name, "outcome": outcome, "message": message, "growth": _peak() - before, "seconds": seconds}


def main() -> None:
    """Fork for each file; the child prints its line."""
    import numpy as np

    from toolkit.images.decode import decode, encode_png
    from toolkit.images.spec import Preprocess

    side = int(sys.argv[1])
    decode(encode_png(np.zeros((8, 8, 3), np.uint8)), Preprocess(height=side, width=side))
    for path in map(Path, sys.argv[2:]):
        child = os.fork()
        if not child:
            signal.alarm(LIMIT_S)
            print(json.dumps(_one(path, side)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            ended = "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "crashed"
            print(
                json.dumps({"name": path.name, "outcome": ended, "message": str(status), "growth": -1, "seconds": -1})
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
