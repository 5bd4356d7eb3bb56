"""Python in a process that has no network: no interface but the loopback, and that one down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.command_line import environment

CUT_OFF = (
    ["unshare", "--net"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
)

LOOKS = "import socket; print([name for _, name in socket.if_nameindex()])"


def cut_off(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this Python there."""
    return subprocess.run(
        [*CUT_OFF, sys.executable, *command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def cannot_cut_off(folder: Path) -> str:
    """Why the network cannot be cut off here; "" where it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    looked = cut_off("-c", LOOKS, cwd=folder)
    if looked.returncode:
        return f"this user may not cut the network off: {looked.stderr.strip()}"
    assert looked.stdout.strip() in ("['lo']", "[]")
    return ""
