"""`toolkit demo`: every step is the command a user would type, run in a process of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the demo.")] = Path("toolkit-demo"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole way on 2,000 real pictures that ship with the package, in under a minute.

    split, train, export, infer and evaluate, each printed as the command that you would type. Needs the `train` extra.
    """
    from toolkit.demo import STEPS, unpack_pictures

    started = time.monotonic()
    unpack_pictures(directory)
    console.say(f"2,000 Fashion-MNIST pictures in ten class folders: {directory / 'fashion'}\n$ cd {directory}")
    for step in STEPS:
        console.say(f"\n# {step.why}\n$ toolkit {shlex.join(step.arguments)}")
        code = _run(step.arguments, directory)
        if code:
            console.say(f"\nThe demo stopped here: this command ended with exit code {code}.")
            raise typer.Exit(code)
    console.say(
        f"\nDone in {time.monotonic() - started:.0f} s. Look at {directory / 'labels.csv'}, "
        f"{directory / 'report' / 'report.html'} and {directory / 'model' / 'curves.png'}."
    )


def _run(arguments: tuple[str, ...], directory: Path) -> int:
    quiet = ["--quiet"] if console.Settings.quiet else []
    return subprocess.run(
        [sys.executable, "-m", "toolkit", *arguments, *quiet], cwd=directory, stderr=sys.stderr, check=False
    ).returncode
