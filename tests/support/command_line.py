"""The command line in a process of its own, as a user or cron starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
"""The folder of the project."""


def environment(**extra: str) -> dict[str, str]:
    """The environment of a process that imports this checkout's `toolkit`; what it prints is buffered, as usual."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": str(ROOT), **extra}


def run_cli(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m toolkit` in a process of its own, as a user or cron would."""
    return run_python("-m", "toolkit", *arguments, cwd=cwd, **variables)


def run_python(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own, with nothing on stdin."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]
"""The fixture `run`: a command line in this process."""
