"""How the C library gives memory back to the system."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

_TRIM_THRESHOLD: Final = -1  # numbers of glibc's malloc.h
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGE: Final = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for what it allocates next; whether the C library can.

    A training allocates and frees the same large arrays in every step. Otherwise the system maps and clears their pages
    each time, a fifth of all processor time. It holds for the whole process, so that it is for a command, not for a
    library. Call it before threads are started.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, _LARGE))
    return bool(sum(mallopt(parameter, value) for parameter, value in settings) == len(settings))
