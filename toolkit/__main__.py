"""`python -m toolkit`, and the command `toolkit`: a process of its own for the command line."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import NoReturn

# The libraries make many objects that stay: looking for cycles among them while they load would cost 25 ms.
gc.set_threshold(100_000)

from toolkit.cli import main  # noqa: E402


def run() -> NoReturn:
    """Run the command line and end as soon as all is written: taking the libraries apart would cost 50 ms."""
    _open_missing_streams()
    code = main()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or 1
    os._exit(code)


def _open_missing_streams() -> None:
    """Where the caller closed stdout or stderr, what is written there goes nowhere, and into no file opened later."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


if __name__ == "__main__":
    run()
