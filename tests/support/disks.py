"""Disks of a few kilobytes, with room for exactly so much."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `disk`; the test is skipped where none can be mounted."""
    disk.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    if os.geteuid() or mount is None:
        pytest.skip("mounting a disk needs root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def leave(disk: Path, n_bytes: int) -> None:
    """Fill the disk up to its last `n_bytes`."""
    (disk / FILLER).unlink(missing_ok=True)
    state = os.statvfs(disk)
    with (disk / FILLER).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - n_bytes))
