"""Several files that belong together appear in a folder as one, whatever kills the run meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.files import atomic_folder, kind_of, naming
from toolkit.core.text import printable

STAGING: Final = ".publishing"
_WHOLE: Final = ".whole"
_OLD: Final = ".old"


@contextmanager
def published(out: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder; what is written there appears in `out` when the block ends well, in place of namesakes.

    A folder that holds nothing but ours is exchanged for the new one in one step. Where `out` holds other files as
    well, they stay, and ours are moved beside them one by one once all are whole; `finish` completes the moves of a
    run that was killed meanwhile. To be called under a lock of `out`.

    Args:
        is_ours: whether an entry of `out` is one that an earlier run wrote.
    """
    out = Path(os.path.realpath(out))
    finish(out, is_ours)
    if not out.exists() or (not _in_use(out) and all(map(is_ours, out.iterdir()))):
        with atomic_folder(out) as folder:
            yield folder
        return
    staging = out / STAGING
    with naming(out):
        staging.mkdir()
        try:
            yield staging
            (staging / _WHOLE).touch()
        finally:
            finish(out, is_ours)


def finish(out: Path, is_ours: Callable[[Path], bool]) -> None:
    """Complete the moves of a run that was killed while it made them, or remove what it had not finished.

    Raises:
        InputError: the place of these files is taken by something else.
    """
    staging = out / STAGING
    if not os.path.lexists(staging):
        return
    if staging.is_symlink() or not staging.is_dir():
        raise InputError(
            f"{printable(str(staging))}: expected a folder of an earlier run, found {kind_of(staging)}",
            hint="move it away, or choose another folder with --out",
        )
    if (staging / _WHOLE).exists():
        (staging / _OLD).mkdir(exist_ok=True)
        for path in sorted(staging.iterdir()):
            if path.name not in (_WHOLE, _OLD):
                _move(path, out / path.name, staging / _OLD / path.name, is_ours)
    shutil.rmtree(staging)


def _move(new: Path, target: Path, old: Path, is_ours: Callable[[Path], bool]) -> None:
    """Give `new` the name `target`; of a folder that has it what is not ours is kept."""
    if target.is_dir() and not target.is_symlink():
        target.rename(old)
    if old.is_dir():
        for path in old.iterdir():
            if not os.path.lexists(new / path.name) and not is_ours(path):
                path.rename(new / path.name)
    os.replace(new, target)


def _in_use(folder: Path) -> bool:
    """Whether a folder cannot give its name away: somebody works in it, or a disk is mounted there."""
    return folder.is_mount() or Path.cwd().is_relative_to(folder)
