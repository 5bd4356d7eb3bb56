"""A folder of images and tables of labels -> its classes and samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.label_table import METADATA, Labels, LabelTables, find_labels, is_table
from toolkit.data.passed_over import PassedOver
from toolkit.data.split_tree import TRAIN, VALIDATION, find_split_tree
from toolkit.data.walk import Sample, is_hidden, is_image, sample, slashes, walk

SHOWN = 10
"""Files without a label that are named one by one."""


def table_samples(
    root: Path, wanted: LabelTables | None, progress: Progress
) -> tuple[dict[str, list[tuple[Sample, str]]], bool] | None:
    """Label -> its files, each with its subset, where tables give the labels; and whether the folders give the subsets.

    None where the folders' names are the labels. A split tree may have a `metadata.csv` in each of its folders.

    Raises:
        InputError: a table is missing or damaged, or gives no file a label.
    """
    if not root.is_dir():
        return None
    passed_over = PassedOver()
    entries = {}
    for place in walk(str(root), hidden=True):
        if is_hidden(slashes(place)):
            passed_over.hidden += 1
        else:
            entries[slashes(place)] = os.path.join(root, place)
    wanted = _with_metadata(root, entries, wanted or LabelTables())
    table = find_labels(root, entries, wanted)
    if table is None:
        return None
    table.warn(progress)
    return _by_label(root, entries, table, wanted, passed_over, progress)


def _subsets(root: Path) -> dict[str, str]:
    """Folder -> its subset; empty where `root` is not a split tree."""
    tree = find_split_tree(root)
    return {tree.train.name: TRAIN, tree.for_validation.name: VALIDATION} if tree else {}


def _with_metadata(root: Path, entries: Mapping[str, str], wanted: LabelTables) -> LabelTables:
    if wanted.tables or METADATA in entries:
        return wanted
    inside = [f"{name}/{METADATA}" for name in _subsets(root) if f"{name}/{METADATA}" in entries]
    if len(inside) < 2:
        return wanted
    return LabelTables(tables=tuple(str(root / place) for place in inside), columns=wanted.columns)


def _by_label(
    root: Path,
    entries: Mapping[str, str],
    table: Labels,
    wanted: LabelTables,
    passed_over: PassedOver,
    progress: Progress,
) -> tuple[dict[str, list[tuple[Sample, str]]], bool]:
    subsets = _subsets(root)
    found: dict[str, list[tuple[Sample, str]]] = {}
    left_out = []
    for place, path in entries.items():
        if is_table(root, place, wanted):
            continue
        if not (place in table.by_place or is_image(path)):
            passed_over.add(place)
            continue
        subset = subsets.get(place.partition("/")[0], "") if subsets else ""
        if (problem := table.problem(place)) is not None:
            left_out.append(f"{place}: {problem[1]}")
        elif subsets and not subset:
            left_out.append(f"{place}: lies in none of {', '.join(subsets)}")
        else:
            found.setdefault(table.by_place[place], []).append((sample(path, place), subset))
    for text in left_out[:SHOWN]:
        progress.warn(f"left out: {printable(text)}")
    if len(left_out) > SHOWN:
        progress.warn(f"left out: {len(left_out) - SHOWN:,} more files without a label")
    if str(passed_over):
        progress.line(str(passed_over))
    if not found:
        raise InputError(
            f"{printable(str(root))}: {table.tables} gives none of its files a label",
            hint="the paths in the table start from that folder; see --labels and --columns",
        )
    return found, bool(subsets)
