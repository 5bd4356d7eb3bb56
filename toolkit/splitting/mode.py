"""How an image comes into a folder that we make; apart from the options, so that `--help` loads nothing else."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """How an image comes into the split.

    copy: its bytes and times. hardlink: one file under two names (same disk). symlink: a pointer to the original.
    move: the original itself. none: not at all; `split.csv` alone says where it belongs.
    """

    COPY = "copy"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    MOVE = "move"
    NONE = "none"
