"""An archive -> a folder in the cache, for what reads its files more than once."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.files import atomic_folder, file_digest
from toolkit.core.progress import SILENT, Progress
from toolkit.data import archive
from toolkit.data.cache import ARCHIVES, writing_cache
from toolkit.data.label_table import METADATA


def unpacked(path: Path, cache_dir: Path, progress: Progress = SILENT) -> Path:
    """The folder with the files of an archive, lone folders around them looked through; `path` where it is none.

    Raises:
        InputError: the archive is damaged, or unpacks to far more than its own size.
    """
    if not path.is_file() or not archive.is_archive(path):
        return path
    return _inner(unpacked_folder(path, cache_dir, progress))


def unpacked_folder(path: Path, cache_dir: Path, progress: Progress = SILENT) -> Path:
    """The folder in the cache that an archive is unpacked in.

    It is named by the archive's content, so that it is unpacked once. Members that are refused or damaged are named and
    left out.

    Raises:
        InputError: the archive is damaged, or unpacks to far more than its own size.
    """
    stem = re.sub(r"[^\w.-]", "_", archive.stem(path))[:60]
    folder = cache_dir / ARCHIVES / f"{stem}-{file_digest(path)[:16]}"
    if not folder.is_dir():
        members = archive.members(path)
        for member in members:
            if member.refusal:
                progress.warn(f"left in the archive: {member.name}: {member.refusal}")
        wanted = [member for member in members if not member.refusal]
        with writing_cache(cache_dir), atomic_folder(folder) as temporary:
            progress.start("unpacking", len(wanted))
            try:
                for member, data in archive.contents(path, wanted):
                    if isinstance(data, InputError):
                        progress.warn(f"left in the archive: {member.name}: {data.message}")
                    else:
                        target = temporary / member.name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(data)
                    progress.advance()
            finally:
                progress.finish()
        progress.line(f"unpacked into {folder}; toolkit cache --clear removes it")
    return folder


def _inner(folder: Path) -> Path:
    """The folder below the lone folders around it."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX"]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        if not (inside[0] / METADATA).is_file() and not any(path.is_dir() for path in inside[0].iterdir()):
            return folder
        folder = inside[0]
