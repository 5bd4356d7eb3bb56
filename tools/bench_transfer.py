"""How accurate `toolkit train` is without a recipe, and how long it takes: `python tools/bench_transfer.py DATA JOB…`

DATA holds the unpacked archives (flower_photos, PetImages, cell_images, fashion_mnist_images). Each JOB is trained with
`--seeds` seeds, for the split and for the training, as one whole `toolkit train` with empty caches and, where the
system allows it, without a network. A line a run, and one of JSON into `--out`:

    normal, quick, best   flower_photos, a fifth held out, with that --effort
    few                   flower_photos, 20 images a class for training, a fifth of the archive for validation
    pets                  PetImages, a tenth held out
    cells                 cell_images, all, a fifth held out
    fashion               fashion_mnist_images, its own test images held out

With --int8 each bundle is exported to int8 ONNX and int8 TFLite, and the accuracies that the export finds on the
validation images are given, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

JOBS: Final = ("normal", "quick", "best", "few", "pets", "cells", "fashion")
SOURCES: Final = {"pets": "PetImages", "cells": "cell_images", "fashion": "fashion_mnist_images"}
RATIOS: Final = {"pets": "0.9"}
TOOLKIT: Final = (sys.executable, "-m", "toolkit")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("jobs", nargs="+", choices=JOBS, metavar="JOB")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--out", type=Path, help="a line of JSON a run is added to this file")
    options = parser.parse_args()
    for seed in options.seeds:
        for job in options.jobs:
            with tempfile.TemporaryDirectory(prefix="bench-transfer-") as name:
                found = measured(options.data.resolve(), job, seed, Path(name), int8=options.int8)
            print("  ".join(f"{key} {value}" for key, value in found.items()), flush=True)
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


def measured(data: Path, job: str, seed: int, folder: Path, *, int8: bool) -> dict[str, Any]:
    """One training: its accuracy, seconds, processor seconds and memory."""
    tree = split(data, job, seed, folder)
    effort = ["--effort", job] if job in ("quick", "best") else []
    command = [*offline(), *TOOLKIT, "train", str(tree), "--seed", str(seed), "--quiet", *effort]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": "-1"}
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{job}, seed {seed}: toolkit train ended with {process.returncode}")
    bundle = json.loads((folder / "model" / "bundle.json").read_text(encoding="utf-8"))
    found = {
        "job": job,
        "seed": seed,
        "accuracy": round(bundle["metrics"]["accuracy"], 4),
        "train": sum(bundle["data"]["train"].values()),
        "validation": sum(bundle["data"]["validation"].values()),
        "image_size": f"{bundle['contract']['height']}x{bundle['contract']['width']}",
        "kept_epoch": bundle["training"]["kept_epoch"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": usage.ru_maxrss // 1000,
    }
    return found | (quantized(folder, environment) if int8 else {})


def split(data: Path, job: str, seed: int, folder: Path) -> Path:
    """The tree that a job is trained on."""
    source = data / SOURCES.get(job, "flower_photos")
    if job == "fashion":
        return source
    tree = folder / "split"
    if job != "few":
        ratio = RATIOS.get(job, "0.8")
        command = [*TOOLKIT, "split", str(source), "--ratio", ratio, "--seed", str(seed), "--out", str(tree)]
        subprocess.run([*command, "--mode", "symlink", "--quiet"], check=True)
        return tree
    draw = np.random.default_rng(seed)
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(label.iterdir())
        draw.shuffle(files)
        for subset, some in (("train", files[:20]), ("validation", files[20 : 20 + len(files) // 5])):
            (tree / subset / label.name).mkdir(parents=True)
            for file in some:
                shutil.copy2(file, tree / subset / label.name)
    return tree


def offline() -> list[str]:
    """What a command begins with so that it has no network; nothing where the system does not allow that."""
    cut = ["unshare", "--net", "--map-root-user"]
    works = shutil.which(cut[0]) and subprocess.run([*cut, "true"], check=False, capture_output=True).returncode == 0
    return cut if works else []


def quantized(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Accuracy and agreement of both int8 files, as the export verified them."""
    command = [*TOOLKIT, "export", "model", "--onnx", "--tflite", "--quantize", "int8", "--quiet"]
    exported = subprocess.run(command, cwd=folder, env=environment, check=False)
    found: dict[str, Any] = {"int8_exit": exported.returncode}
    report = folder / "model" / "export.json"
    artefacts = json.loads(report.read_text(encoding="utf-8"))["artefacts"] if report.is_file() else {}
    for name, entry in artefacts.items():
        if "int8" in name:
            kind = entry["format"]
            found |= {
                f"{kind}_int8": round(entry["accuracy"], 4),
                f"{kind}_float": round(entry["keras_accuracy"], 4),
                f"{kind}_agreement": round(entry["top1_agreement"], 4),
            }
    return found


if __name__ == "__main__":
    main()
