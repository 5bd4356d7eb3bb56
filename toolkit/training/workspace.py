"""The place of a bundle while it is trained: one training at a time, and nothing old touched before the new is whole.

A training works in `<out>.partial`. Its state there is what `--resume` continues from; when the bundle in it is
finished, the folder takes the place of `<out>`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError, ToolkitError, UsageError
from toolkit.core.files import atomic_write, kind_of, regular, remove_leftovers, write_json
from toolkit.core.ownership import json_object
from toolkit.core.parse import parse_json
from toolkit.core.text import printable
from toolkit.model_files.bundle import BUNDLE_JSON, load_bundle
from toolkit.training.state import STATE, read_state

_BUNDLE_FILES: Final = (
    *("bundle.json", "export.json", "data.csv", "history.csv", "report.csv", "confusion.csv", "check.npz", "state.npz"),
    *("curves.png", "samples.png", "augmented.png", "predictions.png", "confusion.png", "recipe.toml", "summary.txt"),
    *("*.h5", "model.*", "saved_model", "kit", ".publishing", ".export.lock"),
)
"""What trainings and exports leave in a bundle."""

BEST_WEIGHTS: Final = "best.weights.h5"
SETTINGS: Final = "settings.json"
_LONGER: Final = "longer"
"""In the settings of a training that goes on after a finished bundle."""


def partial_dir(out: Path) -> Path:
    """Where the training for the bundle `out` works."""
    return out.with_name(out.name + ".partial")


def place_of(out: Path) -> Path:
    """Where the bundle `out` comes to lie: where a link leads to.

    Raises:
        UsageError: `out` is no name that a folder can be given.
        InputError: a link that leads in a circle; or something else has the name of the workspace.
    """
    if out.name in ("", ".."):
        raise UsageError(
            f"--out {printable(str(out))}: expected the name of a folder, which is replaced as a whole",
            hint="such as --out model",
        )
    out = Path(os.path.realpath(out)) if out.is_symlink() else out
    for path, is_right in ((out, not out.is_symlink()), (partial_dir(out), _is_folder(partial_dir(out)))):
        if not is_right:
            raise InputError(
                f"{printable(str(path))}: expected a folder or nothing, found {kind_of(path)}; it is left untouched",
                hint="move it away, or choose another place with --out",
            )
    return out


def _is_folder(path: Path) -> bool:
    return not os.path.lexists(path) or (path.is_dir() and not path.is_symlink())


def prepare(partial: Path, settings: dict[str, Any], *, resume: bool, force: bool) -> bool:
    """Make the folder for the training, or find there the state of one that is to go on; whether it is to go on.

    Raises:
        InputError: an unfinished training is there and neither `resume` nor `force` is set, or it is another one.
        ModelError: its state is damaged.
    """
    place = partial / SETTINGS
    unfinished = (partial / STATE).is_file()
    if unfinished and not resume and not force:
        raise InputError(
            f"{partial}: an unfinished training is here", hint="--resume continues it, --force begins again"
        )
    if unfinished and resume:
        try:
            before = parse_json(regular(place).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        if names := different(before, settings):
            raise InputError(
                f"{partial}: this training was begun with other settings: {', '.join(names)}",
                hint="give the settings and the data it was begun with, or begin again: --force without --resume",
            )
        read_state(partial)
        return True
    if partial.exists():
        remove_leftovers(place)
        if any(partial.iterdir()) and not _is_begun(partial):
            raise InputError(
                f"{partial}: the training would work here, but this folder holds something else; nothing is touched",
                hint="move that folder away, or choose another place with --out",
            )
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    write_json(place, settings)
    return False


@contextmanager
def leaving_nothing(partial: Path) -> Iterator[None]:
    """Remove the folder of a training that fails before its first epoch is finished: there is nothing to continue."""
    try:
        yield
    except BaseException:
        if _is_begun(partial) and not (partial / STATE).exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _is_begun(partial: Path) -> bool:
    """Whether a training began in the folder `partial`."""
    return {"recipe", "recipe_sha256"} <= json_object(partial / SETTINGS).keys()


def different(before: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The settings whose value was another one before."""
    return [name for name, value in settings.items() if before.get(name) != value]


def is_bundle(out: Path) -> bool:
    """Whether `out` is a folder that a training wrote, readable or not."""
    return {"schema", "contract", "recipe_name"} <= json_object(out / BUNDLE_JSON).keys()


def is_of_training(path: Path) -> bool:
    """Whether `path` is a bundle, or what a training leaves beside one: its workspace, its lock, a bundle replaced."""
    if path.is_symlink() or not path.is_dir():
        return path.suffix == ".lock" and path.is_file() and not path.is_symlink()
    if path.suffix == ".partial":
        return _is_begun(path) or is_bundle(path) or not any(path.iterdir())
    return is_bundle(path)


def is_finished(out: Path) -> bool:
    """Whether `out` is a bundle and no training that is to replace it has begun."""
    return (out / BUNDLE_JSON).is_file() and not (partial_dir(out) / STATE).is_file()


def check_out(out: Path, *, force: bool) -> None:
    """Refuse to train where something is that would be lost.

    Raises:
        InputError: `out` is not a bundle, or is one and `force` is not set.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_bundle(out):
        raise InputError(
            f"{out}: exists and is not a bundle; nothing in it is touched", hint="choose another place with --out"
        )
    if not force:
        name = ""
        with suppress(ToolkitError):
            name = f" ({load_bundle(out).recipe_name})"
        raise InputError(
            f"{out}: there is a trained bundle already{name}",
            hint="--force replaces it when the new one is finished; --out chooses another place",
        )


def recover(out: Path) -> None:
    """Put a bundle in its place that was finished, but cut off before it was there."""
    partial = partial_dir(out)
    if (partial / BUNDLE_JSON).is_file():
        publish(partial, out)
    for old in out.parent.glob(f".{escape(out.name)}.????????.old"):
        if is_bundle(out):
            _remove_replaced(old, out)


def prepare_longer(partial: Path, out: Path, settings: dict[str, Any]) -> None:
    """Begin a training that continues from the last epoch of the finished bundle `out`, which stays as it is.

    Args:
        settings: with the `epochs` that it goes on to.

    Raises:
        ModelError: the state in the bundle is damaged.
    """
    read_state(out)
    prepare(partial, settings | {_LONGER: True}, resume=False, force=True)
    for name in (BEST_WEIGHTS, STATE):  # the state last: with it the training has begun
        with atomic_write(partial / name) as temporary:
            shutil.copyfile(out / name, temporary)


def longer_to(out: Path) -> int:
    """The epochs that an interrupted training of the finished bundle `out` was to go on to; 0 where there is none."""
    partial = partial_dir(out)
    begun = json_object(partial / SETTINGS)
    epochs = begun.get("epochs")
    going_on = begun.get(_LONGER) is True and (partial / STATE).is_file() and is_bundle(out)
    return epochs if going_on and isinstance(epochs, int) else 0


def publish(partial: Path, out: Path) -> None:
    """Put the finished bundle in its place."""
    (partial / SETTINGS).unlink(missing_ok=True)
    if not out.exists():
        os.replace(partial, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    os.replace(out, old)
    os.replace(partial, out)
    _remove_replaced(old, out)


def _remove_replaced(old: Path, out: Path) -> None:
    """Remove a bundle that was replaced; what neither a training nor an export wrote moves into the new one."""
    for path in old.iterdir():
        if not any(fnmatch(path.name, pattern) for pattern in _BUNDLE_FILES) and not os.path.lexists(out / path.name):
            path.rename(out / path.name)
    shutil.rmtree(old, ignore_errors=True)
