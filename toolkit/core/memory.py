"""A memory budget that the threads or processes of a run share: what fits together runs together."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from toolkit.core.errors import UsageError
from toolkit.core.machine import memory_limit

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str | int | None, option: str = "--max-memory") -> int | None:
    """Read a number of bytes such as `2GB`, `512M` or `1000000`.

    >>> parse_bytes("1.5GB")
    1500000000

    Raises:
        UsageError: no such number, or less than 32 MB.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?) ?([kmgt]?)(?:i?b)?", str(text).strip().lower())
    value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if value < 32_000_000:
        raise UsageError(f"{option} {text}: expected 32 MB or more", hint=f"such as {option} 2GB")
    return value


@cache
def machine_budget() -> int:
    """Half of the memory of this machine, or of this container where that is less; at least 512 MB."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        physical = 8 << 30
    return max(512 << 20, min(physical, memory_limit() or physical) // 2)


class MemoryBudget:
    """Bytes that may be held at once. May be shared by threads.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._room = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def hold(self, n_bytes: int) -> Iterator[None]:
        """Hold `n_bytes`, or everything where that is less, while the block runs; wait until there is room.

        Within another hold of the same thread nothing waits, so that no two threads can wait for each other: the outer
        one, taken for what may be needed at most, becomes what is needed, and the rest is given back.
        """
        n_bytes = min(n_bytes, self.total)
        outer: int | None = getattr(self._mine, "held", None)
        if outer is not None:
            self._shrink(outer - n_bytes)
            self._mine.held = min(outer, n_bytes)
            yield
            return
        self._take(n_bytes)
        self._mine.held = n_bytes
        try:
            yield
        finally:
            self._give(self._mine.held)
            self._mine.held = None

    def _take(self, n_bytes: int) -> None:
        with self._room:
            self._room.wait_for(lambda: self._free >= n_bytes)
            self._free -= n_bytes

    def _give(self, n_bytes: int) -> None:
        with self._room:
            self._free += n_bytes
            self._room.notify_all()

    def _shrink(self, n_bytes: int) -> None:
        if n_bytes > 0:
            self._give(n_bytes)


class ForkedBudget(MemoryBudget):
    """The same for worker processes that are forked: each has an equal share, and what needs more runs alone.

    A lock on a file is what they share, so that a process that is killed holds nothing up.

    Args:
        total: bytes, of all processes together.
        workers: how many processes there are.
    """

    def __init__(self, total: int, workers: int) -> None:
        super().__init__(total)
        self._share = total // workers
        self._file = os.memfd_create("memory budget")
        self._opened: tuple[int, int] | None = None
        weakref.finalize(self, os.close, self._file)

    def _take(self, n_bytes: int) -> None:
        import fcntl

        fcntl.flock(self._own(), fcntl.LOCK_SH if n_bytes <= self._share else fcntl.LOCK_EX)

    def _give(self, n_bytes: int) -> None:  # noqa: ARG002
        import fcntl

        fcntl.flock(self._own(), fcntl.LOCK_UN)

    def _shrink(self, n_bytes: int) -> None:
        """What remains is given back with the rest: who runs alone does so to the end."""

    def _own(self) -> int:
        """The file, opened by this very process: a lock belongs to who opened it."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), os.open(f"/proc/self/fd/{self._file}", os.O_RDWR))
            weakref.finalize(self, os.close, self._opened[1])
        return self._opened[1]
