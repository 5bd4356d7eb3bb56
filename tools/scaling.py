"""What ten million and a billion images cost: measures the parts and writes tools/SCALING.md.

    python tools/scaling.py IMAGES MODEL [--names 100000000] [--shards 64] [--rows 1000000] [--ray OVERHEAD]

Measured on this machine, in processor time an image: listing a folder, reading, decoding and labelling IMAGES with
MODEL (an ONNX file), writing rows. Simulated: one shard that picks its own of so many synthetic names, and a merge of
so many shards with so many synthetic rows each. Computed from these: processor hours, and where the bottleneck moves.
`--ray` is the time of `--engine ray` an image against the local engine, as tools/bench_ray.py prints it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import numpy as np
from bench_infer import decode_all, decoded, rates, run_all
from bench_million import linked, peak_memories

from toolkit.data.read import read
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.distributed.shard import Listing, Shard, shard_of
from toolkit.inference.inputs import Inputs, PassedOver
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import described, layout, open_model
from toolkit.inference.result_table import OK, Layout, ResultRow, encode
from toolkit.scaling.merge import merge

PAGE = Path(__file__).with_name("SCALING.md")
TEXT = Path(__file__).with_name("scaling.md.txt")
BUFFER_BYTES = 1 << 20
LISTED = 100_000


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Microseconds of processor an image; `n_bytes` is the mean size of a file."""

    listing: float
    reading: float
    decoding: float
    network: float
    writing: float
    n_bytes: float

    @property
    def work(self) -> float:
        """What workers do; any number of them can."""
        return self.reading + self.decoding + self.network

    @property
    def driver(self) -> float:
        """What is done once, in order, whatever the number of workers."""
        return self.listing + self.writing


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulation: seconds of processor, and the peak memory in bytes."""

    n: int
    seconds: float
    peak: int


def processor(work: Iterator[object]) -> tuple[int, float]:
    """Go through `work`: how many, and microseconds of processor each."""
    begun = time.process_time()
    n = sum(1 for _ in work)
    return n, (time.process_time() - begun) / n * 1e6


def costs(images: Path, model: Path) -> Costs:
    """Measure the parts, each in one thread; medians of three."""
    options = InferOptions(device="cpu")
    session = open_model(model, options)
    spec = session.contract.preprocess
    samples = list(Inputs(paths=(str(images),)).samples(PassedOver()))
    with one_opencv_thread(), tempfile.TemporaryDirectory(dir=images.resolve().parent) as name:
        tree = linked(Path(name) / "many", [sample.path for sample in samples], LISTED)
        some = samples[:4000]
        ready = np.stack(decoded(some[:256], spec))
        table = layout(session, options)
        rows = [_row(table, sample.path, table.labels[0]) for sample in samples[:1000]]
        each: dict[str, list[float]] = {"listing": [], "reading": [], "both": [], "network": [], "writing": []}
        for _ in range(3):
            each["listing"].append(processor(Inputs(paths=(str(tree),)).samples(PassedOver()))[1])
            each["reading"].append(processor(read(sample) for sample in some)[1])
            each["both"].append(1e6 / rates(lambda: decode_all(some, spec, 1))[1])
            each["network"].append(1e6 / rates(lambda: run_all(session, ready, 16, 1))[1])
            each["writing"].append(processor(table.encode(rows) for _ in range(100))[1] / len(rows))
    median = {part: statistics.median(values) for part, values in each.items()}
    return Costs(
        listing=median["listing"],
        reading=median["reading"],
        decoding=median["both"] - median["reading"],
        network=median["network"],
        writing=median["writing"],
        n_bytes=statistics.mean(os.stat(sample.path).st_size for sample in samples),
    )


def _row(table: Layout, name: str, label: str) -> ResultRow:
    answer = ((label, 0.987654),)
    return ResultRow(name, answer, (), "", OK, "", 54_321, 1_700_000_000_000_000_000, table.model)


def names(n: int) -> Iterator[str]:
    """Synthetic names, in order."""
    return (f"photos/{i // 5000:06}/{i % 5000:04}.jpg" for i in range(n))


def plan(n: int, n_shards: int) -> None:
    """What a shard does with the names of all: run in a process of its own, for the memory."""
    shard, listing = Shard(1, n_shards), Listing()
    making = processor(iter(names(n // 100)))[1] * n / 1e6
    begun = time.process_time()
    for name in names(n):
        listing.saw(name)
        if shard.holds(name):
            listing.took(name)
    _say(time.process_time() - begun - making)


def _say(seconds: float) -> None:
    """For the process that started this one: seconds of processor, and the peak memory in bytes."""
    print(seconds, *peak_memories(str(os.getpid())).values())


def write_shards(folder: Path, model: Path, n_shards: int, n_rows: int) -> list[Path]:
    """Results of `n_shards` with about `n_rows` each, as the runs write them, of rows that no network has seen."""
    options = InferOptions(device="cpu")
    session = open_model(model, options)
    table = layout(session, options)
    about = described(Inputs(paths=("photos",)), session, table, options)
    shards = [Shard(index, n_shards) for index in range(1, n_shards + 1)]
    listings = [Listing() for _ in shards]
    for listing in listings[1:]:  # all see the same names: hashed once here, by each shard in a real run
        listing._all = listings[0]._all
    outs = [folder / f"labels-{shard.index}.csv" for shard in shards]
    ends = [table.encode([_row(table, "", label)]) for label in table.labels]
    with ExitStack() as opened:
        files = [opened.enter_context(out.open("wb", BUFFER_BYTES)) for out in outs]
        for file in files:
            file.write(encode([table.columns]))
        for i, name in enumerate(names(n_shards * n_rows)):
            listings[0].saw(name)
            at = shard_of(name, n_shards) - 1
            listings[at].took(name)
            files[at].write(name.encode() + ends[i % len(ends)])
    for listing, out, shard in zip(listings, outs, shards, strict=True):
        listing.write(out, shard, about)
    return outs


def in_a_process(n: int, *arguments: str) -> Simulated:
    """This script with `arguments`, about `n` names or rows."""
    process = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = process.stdout.split()
    return Simulated(n=n, seconds=float(seconds), peak=int(peak))


def hours(seconds: float) -> str:
    """In words that fit the size."""
    if seconds < 5400:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def page(found: Costs, planned: Simulated, merged: Simulated, n_shards: int, ray: float) -> str:
    """The text of SCALING.md."""
    lines = []
    for n in (10_000_000, 1_000_000_000):
        for cores in (2, 16, 64, 1024, 8192):
            one = n * (found.work + found.driver) / cores / 1e6
            driver = n * found.driver / 1e6
            with_ray = max(n * found.work * ray / cores / 1e6, driver)
            a_shard = n * (found.work / cores + found.listing + planned.seconds / planned.n * 1e6) / 1e6
            lines.append(
                f"| {n:,} | {cores:,} | {hours(one) if cores <= 64 else '–'} | {hours(a_shard)} | {hours(with_ray)} | "
                f"{n * found.n_bytes / max(a_shard, 1) / 1e9:,.2f} GB/s |"
            )
    name = platform.processor() or platform.machine()
    return Template(TEXT.read_text(encoding="utf-8")).substitute(
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{name}, {os.cpu_count()} cores",
        **{part: f"{getattr(found, part):,.1f}" for part in ("listing", "reading", "decoding", "network", "writing")},
        work=f"{found.work:,.0f}",
        driver=f"{found.driver:,.1f}",
        per_core=f"{1e6 / (found.work + found.driver):,.0f}",
        feeds=f"{found.work / found.driver:,.0f}",
        driver_rate=f"{1e6 / found.driver:,.0f}",
        kilobytes=f"{found.n_bytes / 1000:,.0f}",
        ray=f"{ray:.2f}",
        table="\n".join(lines),
        shards=str(n_shards),
        names=f"{planned.n:,}",
        plan_seconds=f"{planned.seconds:,.0f}",
        plan_each=f"{planned.seconds / planned.n * 1e6:.1f}",
        plan_peak=f"{planned.peak / 1e6:,.0f}",
        most_shards=f"{found.work / (found.listing + planned.seconds / planned.n * 1e6):,.0f}",
        rows=f"{merged.n:,}",
        merge_seconds=f"{merged.seconds:,.0f}",
        merge_each=f"{merged.seconds / merged.n * 1e6:.1f}",
        merge_million=hours(merged.seconds / merged.n * n_shards * 1e6),
        merge_peak=f"{merged.peak / 1e6:,.0f}",
    )


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--names", type=int, default=100_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ray", type=float, required=True, metavar="OVERHEAD")
    given = parser.parse_args()
    found = costs(given.images, given.model)
    print(found, flush=True)
    planned = in_a_process(given.names, "plan", str(given.names), str(given.shards))
    print(planned, flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        outs = write_shards(Path(name), given.model, given.shards, given.rows)
        out = Path(name) / "labels.csv"
        merged = in_a_process(given.shards * given.rows, "merge", str(out), *map(str, outs))
        with out.open("rb") as file:
            if sum(1 for _ in file) != merged.n + 1:
                raise SystemExit("the merged table has other rows than its shards")
    print(merged, flush=True)
    PAGE.write_text(page(found, planned, merged, given.shards, given.ray), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["plan"]:
        plan(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["merge"]:
        merge(map(Path, sys.argv[3:]), Path(sys.argv[2]))
        _say(time.process_time())
    else:
        main()
