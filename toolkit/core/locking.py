"""One run per output: a lock that dies with its process."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, LockedError, MachineError
from toolkit.core.text import printable

_FLAGS: Final = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
"""Never through a link, and a pipe does not hold us up."""


@contextmanager
def lock(out: Path, at: Path | None = None) -> Iterator[None]:
    """Hold the file `at` (None: `<out>.lock`) while the block runs; its folder is made where it is missing.

    The root folder has no name; its lock lies in it.

    The lock is the system's, so a killed process leaves none behind, though its file may stay.

    Raises:
        LockedError: another process holds it.
        InputError: something else has the name of the lock; it is left untouched.
        MachineError: the place cannot be written to.
    """
    named = out if out.name else out.resolve()
    path = at or (named.with_name(named.name + ".lock") if named.name else named / ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _foreign(path) from None
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise MachineError(
                f"{printable(str(out))}: cannot be written there; {printable(str(path.parent))} is a file, no folder",
                hint="choose another place with --out",
            ) from None
        raise MachineError(
            f"{printable(str(out))}: cannot be written there ({error.strerror})",
            hint="check who may write there, or choose another place with --out",
        ) from None
    if handle is None:
        holder = _holder(path)
        raise LockedError(
            f"{printable(str(out))}: another run{holder} is writing it",
            hint="wait for it, or choose another --out",
        )
    try:
        yield
    finally:
        _release(handle, path)


def _acquire(path: Path) -> int | None:
    """The handle of the locked file; None where another process has it."""
    while True:
        handle = os.open(path, _FLAGS, 0o666)
        if not _is_lock(handle):
            os.close(handle)
            raise _foreign(path)
        try:
            _lock(handle)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            raise
        # Its last holder may have removed the file between our opening and our locking it.
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            with suppress(OSError):  # only for the message of another run; the disk may be full
                os.truncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)


def _foreign(path: Path) -> InputError:
    return InputError(
        f"{printable(str(path))}: the lock of the output would lie here, but this is something else; "
        "it is left untouched",
        hint="move it away, or choose another name with --out",
    )


def _is_lock(handle: int) -> bool:
    """Whether the open file is one of ours: empty, or with the number of a process in it."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > 32:
        return False
    try:
        text = os.pread(handle, 32, 0) if hasattr(os, "pread") else b""
    except OSError:
        return True
    return not text.strip(b"0123456789\r\n")


if sys.platform == "win32":  # an open file cannot be removed there, and its first byte is what is locked
    import msvcrt

    def _lock(handle: int) -> None:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from None

    def _release(handle: int, path: Path) -> None:
        os.close(handle)
        with suppress(OSError):  # the next run has opened it already
            path.unlink()

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(handle: int, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.close(handle)


def _holder(path: Path) -> str:
    try:
        return f" (process {int(path.read_text())})"
    except (OSError, ValueError):
        return ""
