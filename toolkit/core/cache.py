"""Where decoded images are kept for later trainings, and models that are made once."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.core.errors import MachineError


def default_cache_dir() -> Path:
    """`$TOOLKIT_CACHE`, else `toolkit-images` in the user's cache folder.

    Raises:
        MachineError: the user has no home.
    """
    if named := os.environ.get("TOOLKIT_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit-images"
    except RuntimeError:
        raise MachineError(
            "no place for the cache: this user has no home folder",
            hint="choose one with the environment variable TOOLKIT_CACHE, or where there is one with --cache-dir",
        ) from None


def cache_bytes(folder: Path) -> int:
    """Size of everything that is kept in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())
