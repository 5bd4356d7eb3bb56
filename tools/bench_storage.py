"""How fast `toolkit infer` labels what lies in object storage: `python tools/bench_storage.py IMAGES MODEL`

A server of a process of its own (`tests/support/object_server.py`) holds the files of the folder IMAGES, speaks
S3 on the loopback address, and answers every request 50 ms late. In turn, medians of the rounds, images a second:

    L      labelled from the folder
    S      read from the server and thrown away, by as many threads as `infer` reads with: the server's own speed
    E      labelled from the server, listing included; the aim is E >= 0.9 min(L, S)

The server has the last of the processors to itself, toolkit the others (on Linux; elsewhere they share all). The second
line is L and E again for each second of processor that toolkit takes, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from toolkit.core.machine import usable_cpus
from toolkit.data.passed_over import PassedOver
from toolkit.data.remote.ahead import READERS
from toolkit.data.remote.fetch import read_remote
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, layout, make_labeller, open_model, row_workers

SERVER: Final = Path(__file__).parent.parent / "tests" / "support" / "object_server.py"
BUCKET: Final = "s3://photos/"


def labelled(place: str, model: Path, *, remote: bool) -> int:
    """What `infer` does, without the file."""
    options = InferOptions(device="cpu")
    session = open_model(model, options)
    table, labeller, n = layout(session, options), make_labeller(session, options), 0
    work = batches(Inputs(paths=(place,)).samples(PassedOver()), labeller.batch_size)
    with row_workers(table, labeller, options, n_batches=100, remote=remote) as label:
        for rows in label(work):
            table.encode(rows)
            n += len(rows)
            failed = [row.error for row in rows if row.size < 0]
            assert not failed, failed[0]
    return n


def only_read() -> int:
    """Every object, by threads that do nothing else."""
    samples = list(Inputs(paths=(BUCKET,)).samples(PassedOver()))
    with ThreadPoolExecutor(READERS) as pool:
        return sum(1 for _ in pool.map(read_remote, samples))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS")
    given = parser.parse_args()
    command = [sys.executable, str(SERVER), str(given.images), "--latency", str(given.latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        if hasattr(os, "sched_setaffinity") and usable_cpus() > 1:
            *ours, last = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(server.pid, {last})
            os.sched_setaffinity(0, set(ours))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
        os.environ |= dict.fromkeys(names, "us-east-1") | {"AWS_ENDPOINT_URL": server.stdout.readline().strip()}
        works: dict[str, Callable[[], int]] = {
            "L": lambda: labelled(str(given.images), given.model, remote=False),
            "S": only_read,
            "E": lambda: labelled(BUCKET, given.model, remote=True),
        }
        rates: dict[str, list[float]] = {name: [] for name in works}
        each: dict[str, list[float]] = {name: [] for name in works}
        for number in range(given.rounds + 1):
            for name, work in works.items():
                begun, cpu = time.perf_counter(), time.process_time()
                n = work()
                if number:  # the first round opens connections and fills caches
                    rates[name].append(n / (time.perf_counter() - begun))
                    each[name].append(n / (time.process_time() - cpu))
        server.stdin.close()
    speed = {name: statistics.median(found) for name, found in rates.items()}
    shown = "  ".join(f"{name} {images:,.0f}/s" for name, images in speed.items())
    share = speed["E"] / min(speed["L"], speed["S"])
    print(f"{n:,} images, {given.latency * 1000:.0f} ms: {shown}  E / min(L, S) {share:.3f}")
    local, stored = statistics.median(each["L"]), statistics.median(each["E"])
    print(f"for a second of processor: L {local:,.0f}  E {stored:,.0f}  E / L {stored / local:.3f}")


if __name__ == "__main__":
    main()
