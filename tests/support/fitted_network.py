"""A network that was fitted in a second to the images that ship with the package, and these images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.onnx_networks import contract, write_linear_network

from toolkit.cli.machine.demo import unpack_images
from toolkit.images.decode import decode
from toolkit.images.spec import Colour


def unpack(directory: Path) -> Path:
    """2,000 real images, 28x28, grey, in ten class folders."""
    return unpack_images(directory / "images")


def fit(path: Path, data: Path, *, n: int = 40, steps: int = 150, size: int = 28) -> Path:
    """A model file fitted to the first `n` images of each class."""
    labels = tuple(sorted(folder.name for folder in data.iterdir() if folder.is_dir()))
    promise = contract(labels, size, Colour.GREY)
    files = [(k, file) for k, label in enumerate(labels) for file in sorted((data / label).iterdir())[:n]]
    images = np.stack([decode(file.read_bytes(), promise.preprocess) for _, file in files])
    return write_linear_network(path, promise, images, np.array([k for k, _ in files]), steps=steps)
