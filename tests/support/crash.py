"""Crash points: a function is ended, as by kill -9, before each of its changes to the disk in turn."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from toolkit.core import files

CHANGES: Final = ("replace", "rename", "unlink", "link", "symlink", "mkdir", "rmdir", "ftruncate", "truncate", "utime")
KILLED: Final = 77


def crash_points(function: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """For n = 1, 2, …: prepare, run `function` in a process that dies before its n-th change, and yield n.

    It ends with the first n that `function` does not reach.
    """
    n = 1
    while True:
        prepare()
        code = _run(function, n)
        if code != KILLED:
            assert code == 0, f"the run itself ended with {code}"
            return
        yield n
        n += 1


def _run(function: Callable[[], object], n: int) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        _kill_before(n)
        function()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _kill_before(n: int) -> None:
    left = [n]

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os._exit(KILLED)
            return change(*arguments, **named)

        return wrapper

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    files._exchange = counted(files._exchange)
