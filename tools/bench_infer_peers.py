"""`toolkit infer` against bare pieces, full decoding and Keras: `python tools/bench_infer_peers.py IMAGES BUNDLE`

IMAGES is a folder of at least 2,000 images that TensorFlow can read, BUNDLE what `toolkit train` and
`toolkit export --onnx` made. Medians of five, the sides in turn: seconds on the clock, and of processor.

    help    `toolkit --help` beyond `import typer, rich`; wanted <= 0.3 s
    one     one image against a bare script with numpy, cv2, onnxruntime and typer; wanted <= 1.5 times
    Keras   2,000 images against `image_dataset_from_directory` and `predict`: the whole process, wanted >= 4 times as
            fast; and steady, what it takes beyond its start (in Keras' the second `predict`), wanted >= 1.5 times
    12 MP   12-megapixel JPEGs, scaled up with noise from IMAGES, read and decoded as `infer` does against in full;
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

from toolkit.data.read import read
from toolkit.data.walk import sample, walk
from toolkit.images.decode import decode
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.sessions.open_session import open_session

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

N_IMAGES = 2000

KERAS = """
import json, sys, time
import keras, tensorflow as tf
model = keras.saving.load_model(sys.argv[1])
height, width, channels = model.input_shape[1:]
options = dict(labels=None, shuffle=False, batch_size=32, image_size=(height, width), verbose=False)
colour = {1: "grayscale", 3: "rgb"}[channels]
load = lambda: keras.utils.image_dataset_from_directory(sys.argv[2], color_mode=colour, **options).prefetch(-1)
model.predict(load(), verbose=0)
if len(sys.argv) > 3:
    begun = time.perf_counter()
    model.predict(load(), verbose=0)
    print(time.perf_counter() - begun)
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


def python(*arguments: str) -> Callable[[], subprocess.CompletedProcess[bytes]]:
    """Python with `arguments` in a process of its own; modules are compiled once, as an installer does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


def toolkit(*arguments: str) -> Callable[[], subprocess.CompletedProcess[bytes]]:
    """The command `toolkit`, as its installed script starts it."""
    return python("-c", "from toolkit.__main__ import run; run()", *arguments)


def large_images(folder: Path, originals: list[str]) -> list[str]:
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


def help_and_one(originals: list[str], model: str, out: str) -> None:
    """What a command costs that has next to nothing to do."""
    (bare, bare_cpu), (ours, ours_cpu) = medians(python("-c", "import typer, rich"), toolkit("--help"))
    print(f"help   {ours - bare:+.2f} s beyond typer and rich, processor {ours_cpu - bare_cpu:+.2f} s", flush=True)
    (bare, bare_cpu), (ours, ours_cpu) = medians(
        python("-c", BARE, model, originals[0]),
        toolkit("infer", originals[0], "--model", model, "--out", out, "--device", "cpu"),
    )
    print(f"one    {ours / bare:.2f} times {bare:.2f} s, processor {ours_cpu / bare_cpu:.2f} times", flush=True)


def large(originals: list[str], model: str, folder: Path) -> None:
    """12-megapixel images."""
    samples = [sample(path, path) for path in large_images(folder, originals)]
    spec = open_session(Path(model), device="cpu", threads=1).contract.preprocess
    flag = cv2.IMREAD_COLOR_RGB if spec.channels == 3 else cv2.IMREAD_GRAYSCALE
    with one_opencv_thread():
        (full, full_cpu), (ours, ours_cpu) = medians(
            lambda: [cv2.resize(cv2.imread(s.path, flag), (spec.width, spec.height)) for s in samples],
            lambda: [decode(read(s)[1], spec) for s in samples],
        )
    print(f"12 MP  {full / ours:.2f} times as fast as in full, processor {full_cpu / ours_cpu:.2f} times", flush=True)


def keras(images: list[str], bundle: Path, folder: Path) -> None:
    """Keras' own way with the same network on the same images."""
    for i, path in enumerate(images):
        os.symlink(os.path.abspath(path), folder / f"{i:05}{os.path.splitext(path)[1]}")
    model, out = str(bundle / "model.keras"), str(folder.parent / "labels.csv")
    steady = [float(python("-c", KERAS, model, str(folder), "twice")().stdout) for _ in range(ROUNDS)]
    (theirs, _), (start, _), (ours, _) = medians(
        python("-c", KERAS, model, str(folder)),
        toolkit("infer", images[0], "--model", str(bundle), "--out", out, "--device", "cpu"),
        toolkit("infer", str(folder), "--model", str(bundle), "--out", out, "--device", "cpu"),
    )
    n = len(images)
    print(
        f"Keras  {n:,} images in {theirs:.1f} s, toolkit in {ours:.1f} s: {theirs / ours:.2f} times as fast;  steady "
        f"{n / statistics.median(steady):,.0f}/s and {n / (ours - start):,.0f}/s: "
        f"{statistics.median(steady) / (ours - start):.2f} times"
    )


def main() -> None:
    source, bundle = sys.argv[1], Path(sys.argv[2])
    images = [os.path.join(source, place) for place in islice(walk(source), N_IMAGES)]
    model = str(bundle / "model.onnx")
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "images").mkdir()
        help_and_one(images, model, os.path.join(name, "labels.csv"))
        large(images[:N_LARGE], model, Path(name))
        keras(images, bundle, folder)


if __name__ == "__main__":
    main()
