"""Rows of results -> which file goes into which folder."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit.inference.result_table import EMPTY, ERROR, OK, UNSURE
from toolkit.inference.saved_results import SavedResults, SavedRow
from toolkit.sorting.journal import Placement
from toolkit.splitting.folder_names import another_name, folder_name


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A folder for each label, different from `unsure`, `error` and `empty` and from each other on every system.

    >>> folder_names(["Bag", "T-shirt/top", "error"])
    {'Bag': 'Bag', 'T-shirt/top': 'T-shirt_top', 'error': 'error (2)'}
    """
    taken = {UNSURE, ERROR, EMPTY}
    names = {}
    for label in sorted(set(labels)):
        name = wanted = folder_name(label)
        n = 2
        while name.casefold() in taken:
            name, n = f"{wanted} ({n})", n + 1
        taken.add(name.casefold())
        names[label] = name
    return names


def choose(rows: Iterable[SavedRow], min_confidence: float, top: int | None) -> list[tuple[SavedRow, str]]:
    """The rows that are placed, in their order, each with its label, or `unsure`, `error` or `empty` as its status.

    Of a file with several rows the first one counts: of several detections, the surest. With `top`, only the most
    confident of each label are taken.
    """
    seen: set[str] = set()
    chosen: list[tuple[SavedRow, str]] = []
    by_label: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for row in rows:
        if row.path in seen:
            continue
        seen.add(row.path)
        status = row.status
        if status == OK and (row.confidence or 0.0) < min_confidence:
            status = UNSURE
        if status == OK:
            by_label[row.label].append((-(row.confidence or 0.0), len(chosen)))
        chosen.append((row, status))
    if top is None:
        return chosen
    kept = {place for found in by_label.values() for _, place in heapq.nsmallest(top, found)}
    return [item for place, item in enumerate(chosen) if item[1] == OK and place in kept]


def place_names(
    chosen: list[tuple[SavedRow, str]], results: SavedResults, mode: str, earlier: Mapping[str, Placement]
) -> list[Placement]:
    """Where each file goes. What an earlier run placed keeps its name; two files never get the same one."""
    folders = folder_names(row.label for row, status in chosen if status == OK)
    taken = {placement.target.casefold() for placement in earlier.values()}
    placements = []
    for row, status in chosen:
        folder = folders[row.label] if status == OK else status
        source = os.path.abspath(results.file(row))
        before = earlier.get(row.path)
        if before is not None and (before.folder, before.mode, before.source) == (
            folder,
            mode,
            source,
        ):
            placements.append(before)
            continue
        target = _free(f"{folder}/{os.path.basename(source)}", row.path, taken)
        taken.add(target.casefold())
        placements.append(Placement(row.path, target, mode, source, *_state(source)))
    return placements


def _free(wanted: str, path: str, taken: set[str]) -> str:
    target, length = wanted, 8
    while target.casefold() in taken:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()
        target = another_name(wanted, f"-{digest[:length]}{'-again' * max(0, length - 64)}")
        length += 1
    return target


def _state(source: str) -> tuple[int, int]:
    try:
        status = Path(source).stat()
    except (OSError, ValueError):
        return -1, 0
    return status.st_size, status.st_mtime_ns
