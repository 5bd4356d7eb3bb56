"""The folder that an export writes into: one run at a time, nothing foreign replaced, all files at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from toolkit.core.locking import lock
from toolkit.core.ownership import claim, claim_folder, json_object
from toolkit.core.publish import published
from toolkit.exporting.kit import KIT
from toolkit.model_files.contract_io import has_contract

REPORT_JSON: Final = "export.json"


@contextmanager
def export_folder(out: Path, names: Collection[str], *, kit: bool) -> Iterator[Path]:
    """Yield an empty folder for the model files `names`, `export.json` and the kit, which appear in `out` together.

    Raises:
        InputError: one of them is in `out` and no export wrote it.
        LockedError: another run is writing `out`.
    """
    for path in map(out.joinpath, names):
        if path.is_dir() and not path.is_symlink():
            claim_folder(path, [entry.name for entry in path.iterdir()], has_contract, force=None)
        else:
            claim(path, has_contract, force=None)
    claim(out / REPORT_JSON, lambda path: "artefacts" in json_object(path), force=None)
    if kit:
        claim_folder(out / KIT, [path.name for path in _inside(out / KIT)], _is_kit, force=None)
    place = out if out.name else Path(out.resolve())
    with lock(place, place / ".export.lock"), published(place, lambda _path: False) as folder:
        yield folder


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_kit(path: Path) -> bool:
    return (path / "samples.json").is_file() and (path / "labels.txt").is_file()
