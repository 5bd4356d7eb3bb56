"""The whole way on real pictures that ship with the package: what to unpack, and what to type."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, missing_extra

PICTURES: Final = "fashion"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the demo.

    Attributes:
        why: what the step is for, a few words.
        arguments: what a user types after `toolkit`, in the demo's folder.
    """

    why: str
    arguments: tuple[str, ...]


STEPS: Final = (
    Step(why="split the class folders", arguments=("split", PICTURES, "--ratio", "0.8", "--out", "data")),
    Step(why="train a documented network", arguments=("train", "data", "--recipe", "fashion", "--epochs", "8")),
    Step(why="export it, each file verified", arguments=("export", "model", "--onnx", "--tflite")),
    Step(why="label the held-out pictures", arguments=("infer", "data/validation", "--out", "labels.csv")),
    Step(why="report on them", arguments=("evaluate", "data/validation", "--out", "report")),
)


def unpack_pictures(directory: Path) -> Path:
    """Unpack the 2,000 Fashion-MNIST pictures (28x28, grey, ten class folders) into `directory`.

    Returns:
        `directory/fashion`.

    Raises:
        InputError: `directory` is a file, or a folder with something in it.
        MachineError: the extra `train` is not installed.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        found = "a folder with something in it" if directory.is_dir() else "a file"
        raise InputError(
            f"{directory}: expected an empty or a new folder for the demo, found {found}",
            hint="name another one: toolkit demo OTHER_DIR",
        )
    if find_spec("tensorflow") is None:
        raise missing_extra("tensorflow", "train", "the demo")
    directory.mkdir(parents=True, exist_ok=True)
    packed = resources.files("toolkit").joinpath("_demo", "fashion.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(directory)
    return directory / PICTURES
