"""A second run while another holds the output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support import small
from support.command_line import Cli

from toolkit.core.locking import lock


def ends_at_once(run: Cli, command: Sequence[str], out: Path, held: Path) -> None:
    """While `held`, the lock of `command`, is taken, it ends with 7 and changes nothing in `out`; afterwards with 0."""
    before = small.tree(out)
    with lock(out, at=held):
        done = run(*command)
        assert done.code == 7, done.err
        held.unlink()
        assert small.tree(out) == before
    assert run(*command).code == 0
