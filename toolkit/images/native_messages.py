"""What libjpeg, libpng and libtiff say of a damaged image: it becomes a `DecodeError`, and is not printed as well.

They print to C's own `stderr`, behind Python's back. While one decodes, that stream leads nowhere; Python's
`sys.stderr` and the file descriptor are left alone.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Final


class Unheard:
    """Context in which C's `stderr` leads nowhere; may be entered by many threads at once, and within itself.

    Args:
        stream: that variable; any other, where there is none.
        nowhere: what it is set to.

    Attributes:
        inside: how often it is entered.
    """

    def __init__(self, stream: ctypes.c_void_p, nowhere: int | None) -> None:
        self._stream, self._nowhere, self._before = stream, nowhere, stream.value
        self._lock = threading.Lock()
        self.inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self.inside:
                self._before, self._stream.value = self._stream.value, self._nowhere
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1
            if not self.inside:
                self._stream.value = self._before

    def hear(self) -> None:
        """From now on the messages are printed: for `--verbose`."""
        self._stream, self._nowhere = ctypes.c_void_p(), None

    def after_fork(self) -> None:
        """In the new process no other thread is inside, and nobody holds the lock."""
        self._lock = threading.Lock()


def _unheard() -> Unheard:
    """With glibc, where `stderr` is a variable that may be set; elsewhere the messages are printed."""
    nothing = Unheard(ctypes.c_void_p(), None)
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - whether it is there
        stream = ctypes.c_void_p.in_dll(library, "stderr")
        library.fopen.restype = ctypes.c_void_p
        nowhere: int | None = library.fopen(os.devnull.encode(), b"we")
    except (OSError, AttributeError, ValueError, TypeError):
        return nothing
    if not nowhere:
        return nothing
    found = Unheard(stream, nowhere)
    os.register_at_fork(after_in_child=found.after_fork)
    return found


unheard: Final = _unheard()
"""The one of this process."""
