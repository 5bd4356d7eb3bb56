"""Where decoded pictures are kept for later trainings."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`$TOOLKIT_CACHE`, else `toolkit-images` in the user's cache folder."""
    if named := os.environ.get("TOOLKIT_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit-images"


def cache_bytes(folder: Path) -> int:
    """Size of everything that is kept in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())
