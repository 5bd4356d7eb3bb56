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


def some_points(function: Callable[[], object], n: int) -> list[int]:
    """`n` of the changes that `function` makes, numbered from 1: its last six, the others at even distances."""
    read, write = os.pipe()
    process = _fork()
    if not process:
        left = _kill_before(sys.maxsize)
        function()
        os.write(write, str(sys.maxsize - left[0]).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="ascii") as pipe:  # noqa: PTH123 - a pipe has no path
        total = int(pipe.read())
    os.waitpid(process, 0)
    last = list(range(max(1, total - 5), total + 1))
    between = max(1, n - len(last))
    return sorted({*last, *(1 + total * i // between for i in range(between))})


def killed(function: Callable[[], object], n: int) -> None:
    """Run `function` in a process that dies before its n-th change."""
    assert _run(function, n) == KILLED


def in_a_process(function: Callable[[], object]) -> int:
    """Run `function` in a process of its own; 0 or 1."""
    return _run(function, sys.maxsize)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run(function: Callable[[], object], n: int) -> int:
    process = _fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        _kill_before(n)
        function()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _kill_before(n: int) -> list[int]:
    """How many changes are left is the one number of the list."""
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
    return left
