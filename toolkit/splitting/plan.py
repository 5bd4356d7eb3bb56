"""Which image goes where: the stable rule of `split`, pure.

Within a class, images are ranked by a hash of their content and the seed, never by name or order. The first
`floor(n * ratio)` are the training subset. `subsets` is the rule for one class; `train` uses it, too, to hold out
a validation subset of plain class folders.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from toolkit.core.errors import UsageError
from toolkit.splitting import group_fill as split_fill

SUBSETS: Final = ("train", "validation", "test")


def rank(digest: str, seed: int) -> bytes:
    """The place of an image among those of its class: smaller comes first.

    Args:
        digest: SHA-256 of the file's bytes, hex.
        seed: another seed, another order.

    >>> rank("00", 0) == rank("00", 0) != rank("00", 1)
    True
    """
    return hashlib.sha256(f"{seed}:{digest}".encode()).digest()


def subsets(digests: Sequence[str], ratio: Sequence[Decimal], seed: int = 0) -> list[str]:
    """The subset of each image of one class, by the stable rule.

    The same contents give the same subsets, whatever their order or names; one more image moves at most one other
    over each border. Equal digests (copies) always go to one subset.

    Args:
        digests: SHA-256 of the bytes of each image, hex.
        ratio: as `parse_ratio` returns it.
        seed: another seed, another split.

    Returns:
        "train", "validation" or "test" for each digest.

    >>> subsets(["aa", "bb", "cc", "dd"], parse_ratio("0.75"))
    ['train', 'train', 'train', 'validation']
    """
    items = [PlanItem(f"{i:09}", "", digest) for i, digest in enumerate(digests)]
    return [choice.subset for choice in plan(items, ratio, seed, keep_duplicates=True)]


def borders(n: int, ratio: Sequence[Decimal]) -> list[int]:
    """Where each subset ends among `n` ranked images: `floor(n * (ratio so far))`, the last at n.

    >>> borders(90, parse_ratio("0.7")), borders(25, parse_ratio("0.8,0.1,0.1"))
    ([63, 90], [20, 22, 25])
    """
    ends = [int(n * sum(ratio[: i + 1], Decimal(0))) for i in range(len(ratio) - 1)]
    return [*ends, n]


def parse_ratio(text: str) -> tuple[Decimal, ...]:
    """`0.9` -> train and validation, `0.8,0.1,0.1` -> train, validation and test. Exact decimals.

    Raises:
        UsageError: no number, a share that would be empty, or shares that do not add up to 1.

    >>> parse_ratio("0.9")
    (Decimal('0.9'), Decimal('0.1'))
    """
    try:
        parts = tuple(Decimal(part.strip()) for part in text.split(","))
    except InvalidOperation:
        raise _bad_ratio(text, "that is not a decimal number") from None
    if not all(part.is_finite() and 0 < part < 1 for part in parts):
        raise _bad_ratio(text, "each share must be more than 0 and less than 1, or a subset would be empty")
    if len(parts) == 1:
        parts = (parts[0], 1 - parts[0])
    if not 2 <= len(parts) <= 3 or sum(parts) != 1:
        raise _bad_ratio(text, "two or three shares must add up to 1")
    return parts


def _bad_ratio(text: str, why: str) -> UsageError:
    return UsageError(f"--ratio {text}: {why}", hint="give the share for training, as in --ratio 0.9 or 0.8,0.1,0.1")


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One readable image to be placed.

    Attributes:
        path: its place in the source; names it in notes and breaks ties between copies.
        label: its class.
        digest: SHA-256 of its bytes, hex.
        group: images of one group, "" apart, go to the same subset, across classes.
        assigned: the subset it has in an earlier split, "" where it is new.
    """

    path: str
    label: str
    digest: str
    group: str = ""
    assigned: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one image goes.

    Attributes:
        subset: "train", "validation", "test", or "" where it is left out.
        reason: "duplicate" or "two_labels" where it is left out, else "".
        note: the reason in a sentence.
        group: the name of what it is kept together with, "" where it stands alone.
    """

    subset: str = ""
    reason: str = ""
    note: str = ""
    group: str = ""


def plan(
    items: Sequence[PlanItem],
    ratio: Sequence[Decimal],
    seed: int = 0,
    *,
    keep_duplicates: bool = False,
    near: Iterable[tuple[int, int]] = (),
) -> list[Choice]:
    """Where each image goes; one choice for each, in the same order.

    Of exact copies the one with the shortest path is kept; copies under two labels are all left out. Per class, train
    gets exactly `floor(n * ratio)` of the n that are kept, unless groups forbid it: then as close as they allow. What
    an earlier split assigned stays; the new images make up for what its counts lack.

    Args:
        items: readable images, in any order.
        ratio: as `parse_ratio` returns it.
        seed: another seed, another split.
        keep_duplicates: keep exact copies of one label, all in one subset.
        near: pairs of indices that are kept in one subset.

    >>> cats = [PlanItem(f"Cat/{i}.jpg", "Cat", f"{i:064}") for i in range(10)]
    >>> [choice.subset for choice in plan(cats, parse_ratio("0.8"))].count("train")
    8
    """
    choices = _copies(items, keep_duplicates)
    kept = [i for i, choice in enumerate(choices) if not choice.reason]
    units, names = _units(items, kept, near)
    assigned = _assign(items, units, ratio, seed)
    for unit, subset, name in zip(units, assigned, names, strict=True):
        for i in unit:
            choices[i] = Choice(items[i].assigned or subset, group=name)
    return choices


def _copies(items: Sequence[PlanItem], keep_duplicates: bool) -> list[Choice]:
    """Which images are left out because their very bytes occur again."""
    choices = [Choice()] * len(items)
    same: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        same[item.digest].append(i)
    for copies in same.values():
        if len(copies) == 1:
            continue
        copies.sort(key=lambda i: (not items[i].assigned, len(items[i].path), items[i].path))
        first = items[copies[0]]
        for i in copies:
            others = [items[j].path for j in copies if items[j].label != items[i].label]
            if others and not items[i].assigned:
                choices[i] = Choice(reason="two_labels", note=f"the same image as {others[0]}, under another label")
            elif i != copies[0] and not keep_duplicates and not items[i].assigned:
                choices[i] = Choice(reason="duplicate", note=f"a copy of {first.path}")
    return choices


def _units(
    items: Sequence[PlanItem], kept: list[int], near: Iterable[tuple[int, int]]
) -> tuple[list[list[int]], list[str]]:
    """The images that go together (same bytes, same group, near copies), and a name for each such unit."""
    leader = {i: i for i in kept}

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    seen: dict[str, int] = {}
    for i in kept:
        item = items[i]
        if (first := seen.setdefault(f"digest {item.digest}", i)) != i:
            leader[find(i)] = find(first)
        if item.group and (first := seen.setdefault(f"group {item.group}", i)) != i:
            leader[find(i)] = find(first)
    for i, j in near:
        if i in leader and j in leader:
            leader[find(i)] = find(j)
    together: dict[int, list[int]] = defaultdict(list)
    for i in kept:
        together[find(i)].append(i)
    units = list(together.values())
    return units, [_name([items[i] for i in unit]) for unit in units]


def _name(unit: list[PlanItem]) -> str:
    if len(unit) == 1:
        return unit[0].group
    groups = sorted({item.group for item in unit} - {""})
    if groups:
        return "+".join(groups)
    return "like " + min(item.path for item in unit)


def _size(unit: list[int], items: Sequence[PlanItem]) -> dict[str, int]:
    return {items[unit[0]].label: 1} if len(unit) == 1 else Counter(items[i].label for i in unit)


def _assign(items: Sequence[PlanItem], units: list[list[int]], ratio: Sequence[Decimal], seed: int) -> list[str]:
    """The subset of each unit."""
    assigned = [next((items[i].assigned for i in unit if items[i].assigned), "") for unit in units]
    totals = Counter(items[i].label for unit in units for i in unit)
    ends = {label: borders(n, ratio) for label, n in totals.items()}
    free = sorted(
        (u for u, subset in enumerate(assigned) if not subset),
        key=lambda u: rank(min([items[i].digest for i in units[u]]), seed),
    )
    sizes = {u: _size(units[u], items) for u in free}
    for part, subset in enumerate(SUBSETS[: len(ratio) - 1]):
        have = Counter(
            items[i].label
            for unit, given in zip(units, assigned, strict=True)
            if given in SUBSETS[: part + 1]
            for i in unit
        )
        lacking = {label: max(0, ends[label][part] - have[label]) for label in totals}
        for u in split_fill.fill([sizes[u] for u in free], lacking):
            assigned[free[u]] = subset
        free = [u for u in free if not assigned[u]]
    for u in free:
        assigned[u] = SUBSETS[len(ratio) - 1]
    return assigned
