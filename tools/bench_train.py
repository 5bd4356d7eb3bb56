"""`toolkit train` against Keras' own way: the same network, images and epochs, in one run.

    python tools/bench_train.py FLOWER_PHOTOS [--part speed|epoch|accuracy|memory] [--epochs N] [--rounds N]

speed     whole process, and a second training on unchanged data; each a process of its own, in turns
epoch     training epochs against the same network on batches that lie ready in memory, in turns in one process
accuracy  validation accuracy over three seeds
memory    peak resident memory for 3,000 and 12,000 training images

FLOWER_PHOTOS is the unpacked folder. Keras' way is `image_dataset_from_directory`, `cache`, `shuffle(1000)`,
`prefetch`. Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

KERAS = """
import json, sys, time
import tensorflow as tf, keras
data, epochs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keras.utils.set_random_seed(seed)
load = lambda side: keras.utils.image_dataset_from_directory(
    data + "/" + side, seed=seed, image_size=(180, 180), batch_size=32, verbose=False)
train, validation = load("train"), load("validation")
layers = keras.layers
conv = lambda n: layers.Conv2D(n, 3, padding="same", activation="relu")
model = keras.Sequential([keras.Input((180, 180, 3)), layers.Rescaling(1 / 255), conv(16), layers.MaxPooling2D(),
    conv(32), layers.MaxPooling2D(), conv(64), layers.MaxPooling2D(), layers.Flatten(),
    layers.Dense(128, activation="relu"), layers.Dense(5)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
assert model.count_params() == 3989285
train = train.cache().shuffle(1000).prefetch(tf.data.AUTOTUNE)
validation = validation.cache().prefetch(tf.data.AUTOTUNE)
class Times(keras.callbacks.Callback):
    seconds = []
    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()
    def on_test_begin(self, logs=None):
        self.seconds.append(time.perf_counter() - self.began)
history = model.fit(train, validation_data=validation, epochs=epochs, verbose=0, callbacks=[Times()])
model.save(sys.argv[4])
print(json.dumps({"accuracy": history.history["val_accuracy"][-1], "seconds": Times.seconds}))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One training in a process of its own: whole time, training time of each epoch, peak memory."""

    whole_s: float
    epochs_s: list[float]
    accuracy: float
    peak_bytes: int

    @property
    def steady_s(self) -> float:
        """Median epoch but for the first."""
        return statistics.median(self.epochs_s[1:] or self.epochs_s)


def timed(command: list[str], output: Path) -> tuple[float, int]:
    """Run `command`; its wall time and its peak resident memory."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    began = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, env=environment)
        errors = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(errors.decode(errors="replace")[-3000:])
    return seconds, usage.ru_maxrss * 1024


def keras(data: Path, epochs: int, seed: int, scratch: Path) -> Run:
    """Keras' own way."""
    output = scratch / "keras.json"
    arguments = [str(data), str(epochs), str(seed), str(scratch / "keras.keras")]
    whole, peak = timed([sys.executable, "-c", KERAS, *arguments], output)
    fields = json.loads(output.read_text().splitlines()[-1])
    return Run(whole, fields["seconds"], fields["accuracy"], peak)


def toolkit(data: Path, epochs: int, seed: int, scratch: Path) -> Run:
    """`toolkit train`, its cache below `scratch`."""
    out = scratch / "model"
    command = [sys.executable, "-m", "toolkit", "train", str(data), "--recipe", "flowers", "--force"]
    command += ["--epochs", str(epochs), "--seed", str(seed), "--out", str(out), "--cache-dir", str(scratch / "cache")]
    whole, peak = timed(command, scratch / "toolkit.txt")
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return Run(whole, [float(row["seconds"]) for row in rows], float(rows[-1]["val_accuracy"]), peak)


def speed(data: Path, epochs: int, rounds: int, scratch: Path) -> None:
    """Whole times."""
    runs: dict[str, list[Run]] = {"keras": [], "first": [], "second": []}
    for seed in range(rounds):
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        for name, some in runs.items():
            run = (keras if name == "keras" else toolkit)(data, epochs, seed, scratch)
            some.append(run)
            print(f"  {name:7} {run.whole_s:6.1f} s  {run.steady_s:6.2f} s  {run.accuracy:.4f}", flush=True)
    whole = {name: statistics.median(run.whole_s for run in some) for name, some in runs.items()}
    steady = {name: statistics.median(run.steady_s for run in some) for name, some in runs.items()}
    for name, some in runs.items():
        print(f"{name:7} whole {whole[name]:6.1f} s  steady epoch {steady[name]:6.2f} s  {len(some)} runs")
    print(f"whole, first training:   {whole['first'] / whole['keras']:.2f} x Keras' way (goal <= 1.0)")
    print(f"whole, second training:  {whole['second'] / whole['keras']:.2f} x Keras' way (goal <= 0.95)")


def epoch(data: Path, rounds: int, scratch: Path) -> None:
    """Training epochs of `toolkit train`, and of the same network on ready batches in memory, by turns."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    import tensorflow as tf
    from keras.callbacks import LambdaCallback

    from toolkit.core.progress import SILENT
    from toolkit.training import fit as fitting
    from toolkit.training.data.batches import Rows
    from toolkit.training.data.dataset import find_dataset
    from toolkit.training.data.decode_cache import decode_all
    from toolkit.training.data.subsets import assign, batches
    from toolkit.training.networks import keras_model as network
    from toolkit.training.options import TrainOptions, with_options

    recipe = with_options(TrainOptions(recipe="flowers"))
    dataset = find_dataset(data)
    decoded = decode_all(dataset, recipe.preprocess, scratch / "cache")
    samples = assign(dataset, decoded, recipe, SILENT)
    train, validation = batches(samples, recipe, Rows(decoded.path, decoded.spec.shape))
    networks = network.build(recipe, len(dataset.labels), seed=0)
    whole = np.random.default_rng(0).permutation(len(train.rows) // 32 * 32).reshape(-1, 32)
    ready = tf.data.Dataset.from_tensor_slices((train.source.take(train.rows[whole]), train.labels[whole]))
    ready = ready.prefetch(2)
    times: list[float] = []
    note = LambdaCallback(
        on_epoch_begin=lambda *_: times.append(-time.perf_counter()),
        on_epoch_end=lambda *_: times.append(time.perf_counter() + times.pop()),
    )
    speeds: dict[str, list[float]] = {"toolkit": [], "ready": []}
    for n in range(1, rounds + 2):
        settings = replace(recipe.train, epochs=n)
        fitted = fitting.fit(networks, train, validation, settings, scratch, SILENT)  # goes on with epoch n
        networks.trainer.fit(ready, verbose=0, shuffle=False, callbacks=[note])
        if n > 1:  # the first of each traces the graph
            speeds["toolkit"].append(fitted.epochs[-1].images_per_s)
            speeds["ready"].append(whole.size / times[-1])
    for name, some in speeds.items():
        print(f"{name:7} {statistics.median(some):6.1f} images/s ({' '.join(f'{s:.1f}' for s in some)})")
    ratio = statistics.median(a / b for a, b in zip(*speeds.values(), strict=True))
    print(f"speed of a training epoch: {ratio:.3f} x ready batches in memory (goal >= 0.95)")


def accuracy(data: Path, epochs: int, rounds: int, scratch: Path) -> None:
    """Validation accuracy over the seeds."""
    for name, run in (("keras", keras), ("toolkit", toolkit)):
        found = [run(data, epochs, seed, scratch).accuracy for seed in range(max(rounds, 3))]
        spread = statistics.stdev(found)
        print(f"{name:8} {' '.join(f'{a:.4f}' for a in found)}  mean {statistics.mean(found):.4f} sd {spread:.4f}")


def memory(photos: Path, scratch: Path) -> None:
    """Peak memory for 3,000 and 12,000 training images."""
    peaks: dict[str, list[int]] = {"keras": [], "toolkit": []}
    for n in (3000, 12000):
        data = copied(photos, scratch / f"images-{n}", n)
        for name, run in (("keras", keras), ("toolkit", toolkit)):
            peaks[name].append(run(data, 2, 0, scratch).peak_bytes)
    for name, (small, large) in peaks.items():
        grown = (large - small) / 9000 / 1e6
        print(
            f"{name:8} {small / 1e6:,.0f} MB -> {large / 1e6:,.0f} MB: {large / small - 1:+.1%}, "
            f"{grown:.3f} MB an image"
        )


def copied(photos: Path, target: Path, n: int) -> Path:
    """A split tree of `n` training images (the photos, several times over) and 100 for validation."""
    files = sorted(photos.glob("*/*.jpg"))
    np.random.default_rng(0).shuffle(files)  # every class is in every part
    for side, count in (("train", n), ("validation", 100)):
        for i in range(count):
            file = files[i % len(files)]
            place = target / side / file.parent.name / f"{i:06}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    return target


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", choices=["speed", "epoch", "accuracy", "memory"], default="speed")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-train-") as name:
        scratch = Path(name)
        if options.part == "memory":
            memory(options.photos, scratch)
            return
        data = scratch / "split"
        command = [sys.executable, "-m", "toolkit", "split", str(options.photos), "--ratio", "0.8", "--out", str(data)]
        subprocess.run([*command, "--quiet"], check=True)
        if options.part == "epoch":
            epoch(data, options.rounds, scratch)
            return
        part = speed if options.part == "speed" else accuracy
        part(data, options.epochs, options.rounds, scratch)


if __name__ == "__main__":
    main()
