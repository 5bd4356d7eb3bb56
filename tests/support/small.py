"""A few small images and a model that needs no training: what the tests of faults work on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
from support import onnx_networks
from support.command_line import run_python

LABELS = ("Cat", "Dog")


def png(seed: int, size: int = 40) -> bytes:
    """An image of noise, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def folders(root: Path, per_class: int = 4) -> Path:
    """`Cat` and `Dog` with `per_class` images each."""
    for k, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for i in range(per_class):
            (root / label / f"{i}.png").write_bytes(png(100 * k + i))
    return root


def model(path: Path, *, seed: int = 0) -> Path:
    """An ONNX file that keeps the contract."""
    return onnx_networks.write_mean_network(path, onnx_networks.contract(LABELS), seed=seed)


def foreign_onnx(path: Path) -> Path:
    """A classifier from elsewhere, with logits."""
    source = Path(__file__).parent.parent / "torch_onnx" / "dynamic_logits.onnx"
    shutil.copy(source, path)
    return path


def bundle(folder: Path) -> Path:
    """A folder that looks like a trained bundle to everything but TensorFlow."""
    promise = onnx_networks.contract(LABELS)
    folder.mkdir(parents=True)
    fields = {
        "schema": 1,
        "contract": promise.to_dict(),
        "recipe_name": "cats-dogs-150",
        "n_parameters": 1,
        "output": "softmax",
        "training": {},
        "data": {},
        "metrics": {},
        "versions": {},
    }
    (folder / "bundle.json").write_text(json.dumps(fields))
    return folder


def tree(root: Path) -> dict[str, bytes | str]:
    """Everything below `root`: the bytes of files, what links point to, "" of folders."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
    return found


def python(script: str, *arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return run_python("-c", script, *arguments, cwd=cwd, **variables)
