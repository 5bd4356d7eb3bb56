"""A folder of labelled images -> its classes and files, and which of them are for validation.

Two shapes are understood: a split tree (`train/` beside `validation/`, `val/`, `test/` or `testing/`, each with one
folder per class), and plain class folders, from which a validation subset is held out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.class_names import check_class_names, warn_of_loose
from toolkit.data.label_table import TABLE_HINT, LabelTables
from toolkit.data.passed_over import PassedOver, images_in
from toolkit.data.split_tree import FOLDERS, TRAIN, find_split_tree, subset_of
from toolkit.data.walk import FOLDERS_HINT, Sample, class_folders, is_hidden, is_image, slashes, walk
from toolkit.splitting.plan import PlanItem, plan
from toolkit.training.data.label_tables import table_samples

UNKNOWN: Final = -1
"""The label of a sample before the order of the classes is known."""


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """One image file of a data set; what is not known at first is filled in on its way.

    Attributes:
        path: relative to the root, forward slashes.
        label: index of its class.
        subset: "train" or "validation", "" where that is yet to be decided.
        size, mtime_ns: of the file, by which a change is noticed.
        digest: SHA-256 (hex) of its bytes, once it is decoded; "" where it cannot be read.
        reason: why it is left out; "" where it is used.
    """

    path: str
    label: int
    subset: str
    size: int
    mtime_ns: int
    digest: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The labelled images of one folder.

    Attributes:
        root: absolute.
        labels: class names, in the order of the network's output.
        samples: class by class, each class's files in the order of `walk`.
        split: whether the folder says what is for validation.
    """

    root: Path
    labels: tuple[str, ...]
    samples: tuple[LabelledSample, ...]
    split: bool


def find_dataset(
    root: Path,
    labels: Sequence[str] | None = None,
    *,
    tables: LabelTables | None = None,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """The data set in `root`, its classes in the order of `labels` where given, else sorted by name.

    Args:
        tables: give the classes; None: the class folders do, or a `metadata.csv` in `root`.
        strict: a class folder without an image is an error, not a warning.

    Raises:
        InputError: no such folder, no classes, a class that is missing in one subset of a split tree, or classes that
            are not those of `labels`.
    """
    found = table_samples(root, tables, progress)
    if found is not None:
        return _from_table(root, *found, labels, strict=strict, progress=progress)
    roots = _subset_folders(root)
    hint = f"{FOLDERS_HINT}; or give {TABLE_HINT}"
    folders = {subset: class_folders(folder, hint) for subset, folder in roots.items()}
    passed_over = PassedOver()
    for folder in roots.values():
        _pass_over_loose(folder, passed_over, progress)
    by_subset = {
        subset: {name: _files(root, folder, subset, passed_over) for name, folder in by_class.items()}
        for subset, by_class in folders.items()
    }
    full = {name for by_class in by_subset.values() for name, files in by_class.items() if files}
    empty = {name for by_class in by_subset.values() for name, files in by_class.items() if not files} - full
    check_class_names(printable(str(root)), full, empty, progress, strict=strict)
    if str(passed_over):
        progress.line(str(passed_over))
    names = _same_classes(
        root, roots, {subset: {n: f for n, f in folders[subset].items() if by_subset[subset][n]} for subset in roots}
    )
    ordered = _ordered(names, labels, root)
    samples: list[LabelledSample] = []
    for by_class in by_subset.values():
        for index, name in enumerate(ordered):
            samples += [replace(sample, label=index) for sample in by_class[_raw(by_class, name)]]
    return Dataset(root=root.resolve(), labels=ordered, samples=tuple(samples), split=len(roots) == 2)


def _from_table(
    root: Path,
    by_label: dict[str, list[tuple[Sample, str]]],
    split: bool,
    labels: Sequence[str] | None,
    *,
    strict: bool,
    progress: Progress,
) -> Dataset:
    check_class_names(printable(str(root)), by_label, (), progress, strict=strict)
    if len(by_label) < 2:
        raise InputError(
            f"{printable(str(root))}: expected two labels or more, found {', '.join(by_label)}",
            hint="see --labels and --columns",
        )
    ordered = _ordered(sorted(by_label), labels, root)
    samples = [
        LabelledSample(found.name, index, subset, found.size, found.mtime_ns)
        for index, label in enumerate(ordered)
        for found, subset in by_label[label]
    ]
    return Dataset(root=root.resolve(), labels=ordered, samples=tuple(samples), split=split)


def _subset_folders(root: Path) -> dict[str, Path]:
    """Subset -> folder: both of a split tree, or {"": root} for plain class folders."""
    if tree := find_split_tree(root):
        return {"train": tree.train, "validation": tree.for_validation}
    train = (
        next((p for p in root.iterdir() if subset_of(p.name) == TRAIN and p.is_dir()), None) if root.is_dir() else None
    )
    if train is not None and any(p.is_dir() for p in train.iterdir()):
        names = ", ".join(name for subset, names in FOLDERS.items() if subset != TRAIN for name in names)
        raise InputError(
            f"{printable(str(root))}: a {train.name} folder, but none of {names} beside it",
            hint=f"to hold out a share of it: toolkit train {printable(str(train))} ...",
        )
    return {"": root}


def _same_classes(root: Path, roots: dict[str, Path], folders: dict[str, dict[str, Path]]) -> list[str]:
    """The printable class names, which must be the same in every subset."""
    names = {subset: {printable(name) for name in by_class} for subset, by_class in folders.items()}
    if len(names) == 2:
        for one, other in (("train", "validation"), ("validation", "train")):
            if missing := sorted(names[one] - names[other]):
                raise InputError(
                    f"{printable(str(root))}: {', '.join(map(repr, missing))} is in {roots[one].name}, "
                    f"but not in {roots[other].name}; both must hold the same classes",
                    hint=f"put images of it into {printable(str(roots[other]))}, or split again: toolkit split",
                )
    found = sorted(next(iter(names.values())))
    if len(found) < 2:
        raise InputError(
            f"{printable(str(root))}: expected two classes or more, found {', '.join(found)}",
            hint="put the images of each class into a folder with the class's name",
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


def _raw(by_class: Iterable[str], name: str) -> str:
    return next(raw for raw in by_class if printable(raw) == name)


def _pass_over_loose(folder: Path, passed_over: PassedOver, progress: Progress) -> None:
    """Say how many images lie beside the class folders, and count the other and the hidden files there."""
    passed_over.hidden += sum(is_hidden(slashes(place)) for place in walk(str(folder), hidden=True, prune=_is_class))
    names = [entry.name for entry in os.scandir(folder) if not is_hidden(entry.name) and not entry.is_dir()]
    loose = [name for name in names if is_image(str(folder / name))]
    for name in set(names).difference(loose):
        passed_over.add(name)
    warn_of_loose(printable(str(folder)), loose, progress)


def _is_class(place: str, _name: str) -> bool:
    return not is_hidden(place)


def _files(root: Path, folder: Path, subset: str, passed_over: PassedOver) -> list[LabelledSample]:
    files = []
    for place in images_in(str(folder), passed_over):
        path = slashes(os.path.join(folder.relative_to(root), place))
        try:
            status = os.stat(folder / place)
        except OSError:  # a dangling link: it is listed as unreadable later
            files.append(LabelledSample(path, UNKNOWN, subset, -1, 0))
            continue
        files.append(LabelledSample(path, UNKNOWN, subset, status.st_size, status.st_mtime_ns))
    return files


def hold_out(dataset: Dataset, samples: Sequence[LabelledSample], validation: float, seed: int) -> list[LabelledSample]:
    """Decide which images of plain class folders are for validation, by the rule of `toolkit split`.

    Within a class, files are ranked by a hash of their content and the seed: the same images give the same subsets
    under any name and on any machine. Of exact copies one is kept; an image under two labels is left out.

    Args:
        samples: those of the data set, with their digests.
        validation: the share that is held out, 0..1.

    Returns:
        the samples with their subset, or with the reason why they are left out.
    """
    share = Decimal(str(validation))
    chosen = list(samples)
    usable = [i for i, sample in enumerate(samples) if not sample.reason]
    items = [PlanItem(samples[i].path, dataset.labels[samples[i].label], samples[i].digest) for i in usable]
    for i, choice in zip(usable, plan(items, (1 - share, share), seed), strict=True):
        chosen[i] = replace(samples[i], subset=choice.subset, reason=choice.note)
    return chosen
