"""Kill train or export before some of its changes to the disk: `python -m support.train_crashes train|export`.

In a process that has TensorFlow imported and has computed nothing with it yet, so that it can be forked for each point.
Prints how many points were tried; ends with an error where something was lost or not completed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from support import small
from support.crash import in_a_process, killed, some_points

from toolkit.exporting.export import export
from toolkit.exporting.options import ExportOptions
from toolkit.model_files.bundle import load_bundle
from toolkit.model_files.contract_io import has_contract
from toolkit.training.options import TrainOptions
from toolkit.training.train import train

RECIPE: Final = """
schema = 1
title = "one dense layer"
[input]
height = 8
width = 8
[[layers]]
class = "Rescaling"
scale = "1/255"
[[layers]]
class = "Flatten"
[[layers]]
class = "Dense"
units = "classes"
activation = "softmax"
[train]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
batch_size = 8
epochs = 2
"""
PHOTOS: Final = Path("photos")
WORK: Final = Path("work")
MODEL: Final = WORK / "model"
POINTS: Final = 8


def run_train(*, seed: int = 1, resume: bool = False) -> None:
    """Two epochs; an older bundle is replaced."""
    options = TrainOptions(
        recipe=Path("tiny.toml"),
        out=MODEL,
        cache_dir=Path("cache"),
        gpus=0,
        seed=seed,
        force=True,
        resume=resume,
    )
    train(PHOTOS, options)


def run_export() -> None:
    """Two files and the kit."""
    export(MODEL, ExportOptions(onnx=True, tflite=True))


def rubbish() -> list[str]:
    """What only a run under way may leave."""
    names = [path.name for path in WORK.rglob("*")]
    return [n for n in names if n.startswith(".") or n.endswith((".partial", ".tmp", ".lock"))]


def crash_train(kept: Path) -> int:
    """Every point leaves the old bundle or the new one, and --resume gives what an undisturbed training gives."""
    assert in_a_process(run_train) == 0
    expected = load_bundle(MODEL).contract.fingerprint
    prepare(kept)
    points = some_points(run_train, POINTS)
    for n in points:
        prepare(kept)
        killed(run_train, n)
        places = [MODEL, MODEL.with_name("model.partial"), *WORK.glob(".model.*.old")]
        whole = [place for place in places if (place / "bundle.json").is_file()]
        assert whole, f"no bundle after {n}"
        load_bundle(whole[0])
        assert in_a_process(lambda: run_train(resume=True)) == 0, f"not resumed after {n}"
        assert load_bundle(MODEL).contract.fingerprint == expected, f"another network after {n}"
        assert not rubbish(), f"left after {n}: {rubbish()}"
    return len(points)


def crash_export(kept: Path) -> int:
    """Every point leaves the old files or the new ones."""
    points = some_points(run_export, POINTS)
    for n in points:
        prepare(kept)
        killed(run_export, n)
        load_bundle(MODEL)
        for path in (MODEL / "model.onnx", MODEL / "model.tflite"):
            assert not path.exists() or has_contract(path), f"torn at {n}: {path}"
        assert in_a_process(run_export) == 0, f"not completed after {n}"
        assert has_contract(MODEL / "model.onnx")
        assert has_contract(MODEL / "model.tflite")
        assert not rubbish(), f"left after {n}: {rubbish()}"
    return len(points)


def prepare(kept: Path) -> None:
    """The bundle of an earlier training, and nothing else."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(kept, MODEL)


def main() -> None:
    """Make the images and an old bundle, then kill."""
    import keras  # noqa: F401
    import tensorflow as tf  # noqa: F401

    commands: dict[str, Callable[[Path], int]] = {"train": crash_train, "export": crash_export}
    small.folders(PHOTOS, 6)
    Path("tiny.toml").write_text(RECIPE)
    assert in_a_process(lambda: run_train(seed=9)) == 0
    kept = Path("kept")
    shutil.copytree(MODEL, kept)
    print(commands[sys.argv[1]](kept), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
