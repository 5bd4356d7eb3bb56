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
    code = main()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    run()
