"""`toolkit infer` against bare pieces and full decoding: `python tools/bench_infer_peers.py PICTURES MODEL`

Medians of five, the sides in turn: seconds on the clock, and of processor.

    help    `toolkit --help` beyond `import typer, rich`; wanted <= 0.3 s
    one     one picture against a bare script with numpy, cv2, onnxruntime and typer; wanted <= 1.5 times
    12 MP   12-megapixel JPEGs, scaled up with noise from PICTURES, read and decoded as `infer` does against in full;
            wanted >= 2 times. The network comes to the same on both sides and is left out.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from toolkit.pipeline import read
from toolkit.preprocess import decode
from toolkit.scan import sample, walk
from toolkit.session import open_session
from toolkit.workers import one_opencv_thread

ROUNDS = 5
LARGE = (4000, 3000)
N_LARGE = 8

BARE = """
import sys, cv2, numpy, onnxruntime, typer
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
height, width, channels = session.get_inputs()[0].shape[1:]
pixels = cv2.imread(sys.argv[2], cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE)
pixels = cv2.resize(pixels, (width, height)).reshape(1, height, width, channels)
print(session.run(None, {session.get_inputs()[0].name: pixels})[0])
"""


def medians(*sides: Callable[[], object]) -> list[tuple[float, float]]:
    """Of every side the median seconds, on the clock and of the processor."""
    taken: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, one in zip(sides, taken, strict=True):
            before, begun = os.times(), time.perf_counter()
            side()
            wall, after = time.perf_counter() - begun, os.times()
            one.append((wall, sum(after[:4]) - sum(before[:4])))
    return [(statistics.median(w for w, _ in one), statistics.median(c for _, c in one)) for one in taken]


def python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def large_pictures(folder: Path, originals: list[str]) -> list[str]:
    """12-megapixel JPEGs at quality 92, with the noise of a sensor so that they hold as much as a camera's."""
    rng = np.random.default_rng(0)
    paths = []
    for i, original in enumerate(originals):
        pixels = cv2.resize(cv2.imread(original), LARGE, interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 6, pixels.shape).astype(np.float32)
        path = folder / f"{i}.jpg"
        cv2.imwrite(str(path), np.clip(pixels + noise, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert path.stat().st_size >= 2_000_000
        paths.append(str(path))
    return paths


def main() -> None:
    source, model = sys.argv[1:]
    originals = [entry.path for entry in islice(walk(source), N_LARGE)]
    (bare, bare_cpu), (toolkit, toolkit_cpu) = medians(
        python("-c", "import typer, rich"), python("-m", "toolkit", "--help")
    )
    print(
        f"help   {toolkit - bare:+.2f} s beyond typer and rich, processor {toolkit_cpu - bare_cpu:+.2f} s", flush=True
    )
    with tempfile.TemporaryDirectory() as name:
        out = os.path.join(name, "labels.csv")
        (bare, bare_cpu), (toolkit, toolkit_cpu) = medians(
            python("-c", BARE, model, originals[0]),
            python("-m", "toolkit", "infer", originals[0], "--model", model, "--out", out, "--device", "cpu"),
        )
        print(
            f"one    {toolkit / bare:.2f} times {bare:.2f} s, processor {toolkit_cpu / bare_cpu:.2f} times", flush=True
        )
        samples = [sample(path, path) for path in large_pictures(Path(name), originals)]
        spec = open_session(Path(model), device="cpu", threads=1).contract.preprocess
        flag = cv2.IMREAD_COLOR_RGB if spec.channels == 3 else cv2.IMREAD_GRAYSCALE
        with one_opencv_thread():
            (full, full_cpu), (ours, ours_cpu) = medians(
                lambda: [cv2.resize(cv2.imread(s.path, flag), (spec.width, spec.height)) for s in samples],
                lambda: [decode(read(s)[1], spec) for s in samples],
            )
        print(f"12 MP  {full / ours:.2f} times as fast as in full, processor {full_cpu / ours_cpu:.2f} times")


if __name__ == "__main__":
    main()
