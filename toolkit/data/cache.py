"""Where decoded images are kept for later trainings, and models that are made once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolkit.core.errors import MachineError, UsageError
from toolkit.core.text import printable

MODELS: Final = "models"
ARCHIVES: Final = "archives"
"""Folders in the cache, beside those of decoded images, which end in a key."""

_KEYED: Final = re.compile(r".*-[0-9a-f]{16}")
_DECODED: Final = re.compile(r"\.?[0-9a-f]{32}(-[0-9a-f]{16})?\.(u8|json|f32)(\.\w{8}\.tmp\.\w+)?")
_MODEL: Final = re.compile(r"\.?imagenet-[0-9a-f]{12}-[0-9a-f]{16}\.onnx(\.\w{8}\.tmp\.onnx)?")
"""The names of what `toolkit` keeps; whatever else lies in a folder that is named as the cache is somebody's own."""

_KEYS: Final = re.compile(r"(-[0-9a-f]{12,16})+(\.onnx)?$")
"""What tells the names of like things apart, and says nothing to a reader."""


def default_cache_dir() -> Path:
    """`$TOOLKIT_CACHE`, else `toolkit-images` in the user's cache folder.

    Raises:
        MachineError: the user has no home.
    """
    if named := os.environ.get("TOOLKIT_CACHE"):
        return Path(named)
    try:
        if not os.environ.get("XDG_CACHE_HOME"):
            Path.home()  # where there is none, platformdirs names a folder "~"
        from platformdirs import user_cache_path

        return user_cache_path("toolkit-images", appauthor=False)
    except RuntimeError:
        raise MachineError(
            "no place for the cache: this user has no home folder",
            hint="choose one with the environment variable TOOLKIT_CACHE, or where there is one with --cache-dir",
        ) from None


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """While it is entered, an error of the system about a file in `folder` says how to choose another cache.

    Raises:
        MachineError: `folder` cannot be written.
    """
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
        if place != folder and folder not in place.parents and place not in folder.parents:
            raise
        raise MachineError(
            f"{printable(str(place))}: the cache cannot be written ({error.strerror})",
            hint="choose another folder with --cache-dir, or with the environment variable TOOLKIT_CACHE",
        ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """One thing in the cache.

    Attributes:
        path: a file or a folder.
        holds: what it is, in words, such as "decoded images of PetImages".
        n_bytes: its size.
        used: when it was read or written last, in seconds since 1970.
    """

    path: Path
    holds: str
    n_bytes: int
    used: float


def cache_entries(folder: Path) -> list[CacheEntry]:
    """What `toolkit` keeps in `folder`, the latest used first; what it did not write is not among it."""
    found = [(path, "decoded images of") for path in _inside(folder) if _is_decoded(path)]
    found += [(path, "the model") for path in _inside(folder / MODELS) if _MODEL.fullmatch(path.name)]
    found += [(path, "the unpacked archive") for path in _inside(folder / ARCHIVES) if _is_keyed(path)]
    entries = [_entry(path, f"{holds} {_KEYS.sub('', path.name)}") for path, holds in found]
    return sorted(entries, key=lambda entry: (-entry.used, str(entry.path)))


def remove_entry(entry: CacheEntry) -> None:
    """Remove one thing from the cache; it is made again when it is needed.

    Raises:
        OSError: it cannot be removed.
    """
    if entry.path.is_dir() and not entry.path.is_symlink():
        shutil.rmtree(entry.path)
    else:
        entry.path.unlink(missing_ok=True)


def _is_keyed(path: Path) -> bool:
    return _KEYED.fullmatch(path.name) is not None and path.is_dir()


def _is_decoded(path: Path) -> bool:
    return _is_keyed(path) and all(_DECODED.fullmatch(file.name) for file in _inside(path))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(path: Path, holds: str) -> CacheEntry:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    states = []
    for file in files:
        with suppress(FileNotFoundError):  # a run that is under way has removed it
            states.append(file.stat())
    used = max((max(state.st_mtime, state.st_atime) for state in states), default=0.0)
    return CacheEntry(path=path, holds=holds, n_bytes=sum(state.st_size for state in states), used=used)


def parse_age(text: str) -> float:
    """`30d`, `12h` or `2w` in seconds.

    Raises:
        UsageError: neither.

    >>> parse_age("30d")
    2592000.0
    """
    match = re.fullmatch(r"(\d{1,6})([hdw])", text.strip())
    if match is None:
        raise UsageError(f"--older-than {text}: expected hours, days or weeks", hint="--older-than 30d")
    return float(match[1]) * {"h": 3600, "d": 86400, "w": 604800}[match[2]]
