"""A folder of labelled pictures -> its classes and files, and which of them are for validation.

Two shapes are understood: a split tree (`train/` beside `validation/`, `val/`, `test/` or `testing/`, each with one
folder per class), and plain class folders, from which a validation part is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.text import printable
from toolkit.data.split_tree import TRAIN_NAMES, VALIDATION_NAMES
from toolkit.data.walk import class_folders, is_picture_name, walk
from toolkit.splitting.plan import Picture, plan


@dataclass(frozen=True, slots=True)
class File:
    """One picture file of a data set.

    Attributes:
        path: relative to the root, forward slashes.
        label: index of its class.
        subset: "train" or "validation", "" where that is yet to be decided.
        size, mtime_ns: of the file, by which a change is noticed.
    """

    path: str
    label: int
    subset: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The labelled files of one folder.

    Attributes:
        root: absolute.
        labels: class names, in the order of the network's output.
        files: class by class, each class's files in the order of `walk`.
        split: whether the folder says what is for validation.
    """

    root: Path
    labels: tuple[str, ...]
    files: tuple[File, ...]
    split: bool


def find_dataset(root: Path, labels: Sequence[str] | None = None) -> Dataset:
    """The data set in `root`, its classes in the order of `labels` where given, else sorted by name.

    Raises:
        InputError: no such folder, no classes, no pictures in a class, a class that is missing on one side of a
            split tree, or classes that are not those of `labels`.
    """
    sides = _sides(root)
    folders = {side: class_folders(folder) for side, folder in sides.items()}
    names = _same_classes(root, sides, folders)
    ordered = _ordered(names, labels, root)
    files: list[File] = []
    for side, by_class in folders.items():
        for index, name in enumerate(ordered):
            found = _files(root, by_class[_raw(by_class, name)], index, side)
            if not found:
                raise InputError(
                    f"{printable(str(by_class[_raw(by_class, name)]))}: no pictures in this class folder",
                    hint="put pictures there, or take the empty folder away",
                )
            files += found
    return Dataset(root=root.resolve(), labels=ordered, files=tuple(files), split=len(sides) == 2)


def _sides(root: Path) -> dict[str, Path]:
    """Subset -> folder: both of a split tree, or {"": root} for plain class folders."""
    train = next((root / name for name in TRAIN_NAMES if (root / name).is_dir()), None)
    held = next((root / name for name in VALIDATION_NAMES if (root / name).is_dir()), None)
    if train is None or held is None:
        if train is not None and any(p.is_dir() for p in train.iterdir()):
            raise InputError(
                f"{printable(str(root))}: a {train.name} folder, but none of {', '.join(VALIDATION_NAMES)} beside it",
                hint=f"to hold out a part of it: toolkit train {printable(str(train))} ...",
            )
        return {"": root}
    return {"train": train, "validation": held}


def _same_classes(root: Path, sides: dict[str, Path], folders: dict[str, dict[str, Path]]) -> list[str]:
    """The printable class names, which must be the same on every side."""
    names = {side: {printable(name) for name in by_class} for side, by_class in folders.items()}
    if len(names) == 2:
        for one, other in (("train", "validation"), ("validation", "train")):
            if missing := sorted(names[one] - names[other]):
                raise InputError(
                    f"{printable(str(root))}: {', '.join(map(repr, missing))} is in {sides[one].name}, "
                    f"but not in {sides[other].name}; both must hold the same classes",
                    hint=f"put pictures of it into {printable(str(sides[other]))}, or split again: toolkit split",
                )
    found = sorted(next(iter(names.values())))
    if len(found) < 2:
        raise InputError(
            f"{printable(str(root))}: expected two classes or more, found {', '.join(found)}",
            hint="put the pictures of each class into a folder with the class's name",
        )
    return found


def _ordered(found: list[str], labels: Sequence[str] | None, root: Path) -> tuple[str, ...]:
    if labels is None:
        return tuple(found)
    missing, extra = [n for n in labels if n not in found], [n for n in found if n not in labels]
    if missing or extra:
        parts = [f"{what}: {', '.join(some)}" for what, some in (("missing", missing), ("unknown", extra)) if some]
        raise InputError(
            f"{printable(str(root))}: the recipe's classes are {', '.join(labels)}; {'; '.join(parts)}",
            hint="rename the class folders, or change `labels` in a copy of the recipe: toolkit recipe copy",
        )
    return tuple(labels)


def _raw(by_class: dict[str, Path], name: str) -> str:
    return next(raw for raw in by_class if printable(raw) == name)


def _files(root: Path, folder: Path, label: int, subset: str) -> list[File]:
    files = []
    for entry in walk(str(folder)):
        if not is_picture_name(entry.name):
            continue
        path = Path(entry.path).relative_to(root).as_posix()
        try:
            status = entry.stat()
        except OSError:  # a dangling link: it is listed as unreadable later
            files.append(File(path, label, subset, -1, 0))
            continue
        files.append(File(path, label, subset, status.st_size, status.st_mtime_ns))
    return files


def hold_out(
    dataset: Dataset, digests: Sequence[str], errors: Sequence[str], validation: float, seed: int
) -> list[tuple[str, str]]:
    """Decide which files of plain class folders are for validation, by the rule of `toolkit split`.

    Within a class, files are ranked by a hash of their content and the seed: the same pictures give the same parts
    under any name and on any machine. Of exact copies one is kept; a picture under two labels is left out.

    Args:
        digests: per file, SHA-256 of its bytes.
        errors: per file, why it cannot be used; "" where it can.
        validation: the part that is held out, 0..1.

    Returns:
        per file its subset and "", or "" and why it is left out.
    """
    part = Decimal(str(validation))
    chosen = [("", error) for error in errors]
    usable = [i for i, error in enumerate(errors) if not error]
    pictures = [Picture(dataset.files[i].path, dataset.labels[dataset.files[i].label], digests[i]) for i in usable]
    for i, choice in zip(usable, plan(pictures, (1 - part, part), seed), strict=True):
        chosen[i] = (choice.subset, choice.note)
    return chosen
