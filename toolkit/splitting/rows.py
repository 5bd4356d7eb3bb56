"""What was found in the files, what was planned, and what an earlier split holds -> the rows of `split.csv`."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.core.errors import InputError, UsageError
from toolkit.core.text import counted, printable
from toolkit.data.class_source import Source
from toolkit.data.probe import Examined
from toolkit.splitting.folder_names import another_name, folder_problem
from toolkit.splitting.plan import Choice, PlanItem
from toolkit.splitting.table import SplitRow

Key = tuple[str, ...]

GONE = "no longer in the source"


def check_folder_names(source: Source) -> None:
    """Labels from a table become folders of the split, so each must be the name of one.

    Raises:
        InputError: a label that cannot be.
    """
    wrong = [label for label in source.labels if folder_problem(label)]
    if wrong:
        more = f", nor can {counted(len(wrong) - 1, 'other')}" if len(wrong) > 1 else ""
        raise InputError(
            f"{printable(str(source.path))}: the label {printable(wrong[0])[:80]!r} cannot be the name of a folder on "
            f"every system ({folder_problem(wrong[0])}){more}; nothing was written",
            hint="write it in another way in the table, or train without a split: toolkit train DATA --labels TABLE",
        )


@dataclass(slots=True)
class SplitSample:
    """One file on its way into a split; what is not known at first is filled in.

    Attributes:
        examined: what was found in it; None where only an earlier split still holds it.
        earlier: the row of an earlier split that it continues.
        group: samples of one group, "" apart, go into one subset.
        choice: where it goes, once that is planned.
    """

    examined: Examined | None
    earlier: SplitRow | None = None
    group: str = ""
    choice: Choice | None = None

    @property
    def usable(self) -> bool:
        """Whether it is a readable image in the source."""
        return self.examined is not None and self.examined.header is not None

    @property
    def path(self) -> str:
        """Its place in the source."""
        if self.examined is not None:
            return self.examined.file.name
        assert self.earlier is not None
        return self.earlier.path

    def item(self) -> PlanItem:
        """What the plan needs to know of it."""
        assigned = self.earlier.subset if self.earlier else ""
        if self.examined is not None:
            return PlanItem(self.path, self.examined.file.label, self.examined.digest, self.group, assigned)
        assert self.earlier is not None
        return PlanItem(self.path, self.earlier.label, self.earlier.sha256, self.group, assigned)


def group(samples: Sequence[SplitSample], pattern: str | None) -> None:
    """Give each sample its group: what `pattern` finds in its path, "" where it finds nothing.

    Raises:
        UsageError: it finds nothing anywhere.
    """
    if pattern is None:
        return
    expression = re.compile(pattern)
    for sample in samples:
        if found := expression.search(printable(sample.path)):
            sample.group = "|".join(part or "" for part in found.groups()) or found[0]
    if not any(sample.group for sample in samples):
        raise UsageError(
            f"--group-by {pattern!r}: found in none of {len(samples):,} paths, such as {printable(samples[0].path)!r}",
            hint="the expression is searched in the path within the source; (…) marks what names the group",
        )


def match(before: Sequence[SplitRow], samples: Sequence[SplitSample]) -> None:
    """Give each sample the row of an earlier split that it continues, where there is one.

    The same path with the same bytes; else the same bytes in the same class under another name; else the same path
    with other bytes.
    """
    keys: tuple[tuple[Callable[[SplitRow], Key], Callable[[Examined], Key]], ...] = (
        (lambda row: (row.path, row.sha256), lambda e: (printable(e.file.name), e.digest)),
        (lambda row: (row.label, row.sha256), lambda e: (printable(e.file.label), e.digest)),
        (lambda row: (row.path,), lambda e: (printable(e.file.name),)),
    )
    free = {row.target: row for row in before if row.subset}
    for of_row, of_image in keys:
        waiting: dict[Key, list[SplitRow]] = defaultdict(list)
        for row in free.values():
            waiting[of_row(row)].append(row)
        for sample in samples:
            if sample.earlier is None and sample.examined and (same := waiting.get(of_image(sample.examined))):
                sample.earlier = free.pop(same.pop(0).target)


def build(samples: Sequence[SplitSample], gone: Sequence[SplitRow]) -> list[SplitRow]:
    """A row for every file, and those of files that an earlier split holds and the source no longer, sorted by path."""
    rows = []
    taken = {_folded(row.target) for row in (*(s.earlier for s in samples if s.earlier), *gone)}
    for sample in samples:
        e, choice = sample.examined, sample.choice
        assert e is not None
        name, label = e.file.name, e.file.label
        if choice is None:
            kind, text = (e.problem.kind, e.problem.text) if e.problem else ("", "")
            rows.append(SplitRow(name, label, reason=kind, note=text, sha256=e.digest))
            continue
        target = ""
        if choice.subset:
            target = sample.earlier.target if sample.earlier else _new_target(choice.subset, e, taken)
        note = choice.note or e.flag
        rows.append(SplitRow(name, label, choice.subset, target, choice.reason, note, choice.group, e.digest))
    return sorted([*rows, *gone], key=lambda row: row.path) if gone else rows


def _new_target(subset: str, e: Examined, taken: set[str]) -> str:
    """`subset/label/place`, made different where another system would take two names for one."""
    target = wanted = f"{subset}/{e.file.label}/{e.file.within or e.file.name.partition('/')[2]}"
    length = 8
    while (folded := _folded(target)) in taken:
        target = another_name(wanted, f"-{e.digest[:length]}{'-copy' * max(0, length - 64)}")
        length += 1
    taken.add(folded)
    return target


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
