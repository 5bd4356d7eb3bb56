"""A folder in which every line of the documentation can be typed: a few real images of each kind, a small bundle.

Where a line trains the default network, a smaller one is trained here: tests/cli/test_main_job.py trains the default.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from support.command_line import ROOT, environment

OWN_KERAS = """
import sys
import keras
keras.utils.set_random_seed(0)
layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
network = [keras.Input((32, 32, 3)), *layers, keras.layers.Dense(2, activation="softmax")]
keras.Sequential(network).save(sys.argv[1])
"""

RECIPE = """
schema = 1
title = "one convolution"
[input]
height = 64
width = 64
[[layers]]
class = "Rescaling"
scale = "1/255"
[[layers]]
class = "Conv2D"
filters = 16
kernel_size = 5
strides = 2
activation = "relu"
[[layers]]
class = "GlobalAveragePooling2D"
[[layers]]
class = "Dense"
units = "classes"
[train]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
from_logits = true
batch_size = 16
epochs = 3
"""
TOOLKIT = """#!/bin/sh
case "$*" in
    *--recipe* | *--effort*) ;;
    train\\ *) set -- "$@" --recipe {recipe} ;;
esac
exec {python} -m toolkit "$@"
"""


def take(source: Path, pattern: str, n: int, target: Path) -> None:
    """Copy the first `n` files of `source` that match."""
    target.mkdir(parents=True, exist_ok=True)
    for image in sorted(source.glob(pattern))[:n]:
        shutil.copy2(image, target)


def furnish(folder: Path, pets: Path, flowers: Path, cells: Path) -> None:
    """The images, and a `toolkit` on the path of `shell`."""
    for kind in ("Cat", "Dog"):
        take(pets / kind, "2*.jpg", 60, folder / "PetImages" / kind)
        take(pets / kind, "1*.jpg", 12, folder / "photos" / kind)
    for kind in ("daisy", "dandelion", "roses", "sunflowers", "tulips"):
        take(flowers / kind, "*.jpg", 16, folder / "flower_photos" / kind)
    for kind in ("Parasitized", "Uninfected"):
        take(cells / kind, "*.png", 30, folder / "cells" / kind)
    shutil.make_archive(str(folder / "PetImages"), "zip", folder, "PetImages")
    for name in ("cat.jpg", "photo.jpg"):
        shutil.copy2(pets / "Cat" / "100.jpg", folder / name)
    (folder / "labels.txt").write_text("Cat\nDog\n")
    shutil.copy(ROOT / "tests" / "torch_onnx" / "dynamic_logits.onnx", folder / "resnet18.onnx")
    (folder / "imagenet.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    program = folder / "bin" / "toolkit"
    program.parent.mkdir()
    recipe = folder.parent / "small.toml"
    recipe.write_text(RECIPE)
    program.write_text(TOOLKIT.format(recipe=shlex.quote(str(recipe)), python=shlex.quote(sys.executable)))
    program.chmod(0o755)


def prepare(page: str, folder: Path) -> None:
    """What one page speaks of and the others do not have."""
    if page == "recipes.md":
        shutil.rmtree(folder / "flowers")
    if page == "labels.md":
        places = sorted((folder / "photos").rglob("*.jpg"))
        rows = [(place.relative_to(folder / "photos").as_posix(), place.parent.name) for place in places]
        for name, chosen in (("labels.csv", rows), ("corrections.csv", rows[:2])):
            (folder / name).write_text(
                "".join(f"{place},{label}\n" for place, label in [("file_name", "label"), *chosen])
            )
    if page == "imagenet.md":
        shutil.copytree(folder / "flower_photos" / "daisy", folder / "photos" / "daisy")
    if page == "results.md":
        images = [
            f"photos/{path.relative_to(folder / 'photos').as_posix()}" for path in (folder / "photos").rglob("*.jpg")
        ]
        box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.8, 0.8]}
        found = {
            "images": [{"file": name, "detections": [box]} for name in images],
            "detection_categories": {"1": "animal"},
        }
        (folder / "md.json").write_text(json.dumps(found))


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a reader types it."""
    if "own.keras" in line:
        subprocess.run([sys.executable, "-c", OWN_KERAS, folder / "own.keras"], check=True, env=environment())
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env=environment(PATH=path, TOOLKIT_CACHE=str(folder.parent / "cache")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
