"""What was found in the files, what was planned, and what an earlier split holds -> the rows of `split.csv`."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from toolkit.core.errors import InputError, UsageError
from toolkit.core.text import printable
from toolkit.data.class_source import Source
from toolkit.data.probe import Examined
from toolkit.splitting.plan import Choice
from toolkit.splitting.table import Row

GONE = "no longer in the source"


def check_folder_names(source: Source) -> None:
    """Labels from a table become folders of the split, so each must be the name of one.

    Raises:
        InputError: a label that cannot be.
    """
    wrong = [label for label in source.labels if label.startswith(".") or set(label) & set("/\\\0\r\n")]
    if wrong:
        raise InputError(
            f"{printable(str(source.path))}: the label {wrong[0]!r} cannot be the name of a folder",
            hint="write it in another way in the table, or train without a split: toolkit train DATA --labels TABLE",
        )


def groups(paths: Sequence[str], pattern: str | None) -> list[str]:
    """The group of each path: what `pattern` finds in it, "" where it finds nothing.

    Raises:
        UsageError: it finds nothing anywhere.
    """
    if pattern is None:
        return [""] * len(paths)
    found = [re.search(pattern, printable(path)) for path in paths]
    names = ["" if match is None else "|".join(g or "" for g in match.groups()) or match[0] for match in found]
    if not any(names):
        raise UsageError(
            f"--group-by {pattern!r}: found in none of {len(paths):,} paths, such as {printable(paths[0])!r}",
            hint="the expression is searched in the path within the source; (…) marks the part that names the group",
        )
    return names


def match(before: Sequence[Row], pictures: Sequence[Examined]) -> dict[int, Row]:
    """Which row of an earlier split each picture continues: index of the picture -> row.

    The same path with the same bytes; else the same bytes in the same class under another name; else the same path
    with other bytes.
    """
    rows = [row for row in before if row.subset]
    keys = (
        (lambda row: (row.path, row.sha256), lambda e: (printable(e.file.name), e.digest)),
        (lambda row: (row.label, row.sha256), lambda e: (printable(e.file.label), e.digest)),
        (lambda row: (row.path,), lambda e: (printable(e.file.name),)),
    )
    matched: dict[int, Row] = {}
    free = dict(enumerate(rows))
    for of_row, of_picture in keys:
        waiting: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for r, row in free.items():
            waiting[of_row(row)].append(r)
        for i, picture in enumerate(pictures):
            if i not in matched and (same := waiting.get(of_picture(picture))):
                matched[i] = free.pop(same.pop(0))
    return matched


def build(
    examined: Sequence[Examined], choices: Sequence[Choice], known: Mapping[int, Row], gone: Sequence[Row]
) -> list[Row]:
    """A row for every file, and those of files that an earlier split holds and the source no longer, sorted by path.

    `choices` and the keys of `known` count the readable pictures among `examined`.
    """
    rows = []
    taken = {_folded(row.target) for row in (*known.values(), *gone)}
    picture = -1
    for e in examined:
        name, label = e.file.name, e.file.label
        if e.header is None:
            problem = e.problem
            kind, text = (problem.kind, problem.text) if problem else ("", "")
            rows.append(Row(name, label, reason=kind, note=text, sha256=e.digest))
            continue
        picture += 1
        choice, target = choices[picture], ""
        if choice.subset:
            earlier = known.get(picture)
            target = earlier.target if earlier else _new_target(choice.subset, e, taken)
        note = choice.note or e.flag
        rows.append(Row(name, label, choice.subset, target, choice.reason, note, choice.group, e.digest))
    return sorted([*rows, *gone], key=lambda row: row.path) if gone else rows


def _new_target(subset: str, e: Examined, taken: set[str]) -> str:
    """`subset/label/place`, made different where another system would take two names for one."""
    target = wanted = f"{subset}/{e.file.label}/{e.file.within or e.file.name.partition('/')[2]}"
    length = 8
    while (folded := _folded(target)) in taken:
        stem, suffix = os.path.splitext(wanted)
        target = f"{stem}-{e.digest[:length]}{'-copy' * max(0, length - 64)}{suffix}"
        length += 1
    taken.add(folded)
    return target


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
