"""`toolkit demo`: every step is the command a user would type, run in a process of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose
from toolkit.core.errors import InputError, missing_extra

IMAGES: Final = "fashion"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoStep:
    """One step of the demo.

    Attributes:
        why: what the step is for, a few words.
        arguments: what a user types after `toolkit`, in the demo's folder.
    """

    why: str
    arguments: tuple[str, ...]


STEPS: Final = (
    DemoStep(why="split the class folders", arguments=("split", IMAGES, "--ratio", "0.8", "--out", "data")),
    DemoStep(why="train on them", arguments=("train", "data")),
    DemoStep(why="export it, each file verified", arguments=("export", "model", "--onnx", "--tflite")),
    DemoStep(why="label the held-out images", arguments=("infer", "data/validation", "--out", "labels.csv")),
    DemoStep(why="report on them", arguments=("evaluate", "data/validation", "--out", "report")),
)


def unpack_images(directory: Path) -> Path:
    """Unpack the 2,000 Fashion-MNIST images (28x28, grey, ten class folders) into `directory`.

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
    import io
    import zipfile
    from importlib import resources

    packed = resources.files("toolkit").joinpath("_demo", "fashion.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(directory)
    return directory / IMAGES


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the demo.")] = Path("toolkit-demo"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run every step on 2,000 real images that come with the package, in a minute and a half.

    split, train, export, infer and evaluate, each printed as the command that you would type. Needs the `train` extra.
    """
    started = time.monotonic()
    unpack_images(directory)
    _lines(f"2,000 Fashion-MNIST images in ten class folders: {directory / 'fashion'}", f"$ cd {directory}")
    for step in STEPS:
        _lines("", f"# {step.why}", f"$ toolkit {shlex.join(step.arguments)}")
        code = _run(step.arguments, directory)
        if code:
            _lines("", f"The demo stopped here: this command ended with exit code {code}.")
            raise typer.Exit(code)
    _lines(
        "",
        f"Done in {time.monotonic() - started:.0f} s. The rows are in {directory / 'labels.csv'}. Open the report:",
        str(directory / "report" / "report.html"),
    )


def _lines(*lines: str) -> None:
    for line in lines:
        console.say(line)


def _run(arguments: tuple[str, ...], directory: Path) -> int:
    quiet = ["--quiet"] if console.Settings.quiet else []
    return subprocess.run(
        [sys.executable, "-m", "toolkit", *arguments, *quiet], cwd=directory, stderr=sys.stderr, check=False
    ).returncode
