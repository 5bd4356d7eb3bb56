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
    pictures = [Picture(f"{i:09}", "", digest) for i, digest in enumerate(digests)]
    return [choice.subset for choice in plan(pictures, ratio, seed, keep_duplicates=True)]


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
class Picture:
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
    pictures: Sequence[Picture],
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
        pictures: readable images, in any order.
        ratio: as `parse_ratio` returns it.
        seed: another seed, another split.
        keep_duplicates: keep exact copies of one label, all in one subset.
        near: pairs of indices that are kept in one subset.

    >>> cats = [Picture(f"Cat/{i}.jpg", "Cat", f"{i:064}") for i in range(10)]
    >>> [choice.subset for choice in plan(cats, parse_ratio("0.8"))].count("train")
    8
    """
    choices = _copies(pictures, keep_duplicates)
    kept = [i for i, choice in enumerate(choices) if not choice.reason]
    units, names = _units(pictures, kept, near)
    sides = _assign(pictures, units, ratio, seed)
    for unit, side, name in zip(units, sides, names, strict=True):
        for i in unit:
            choices[i] = Choice(pictures[i].assigned or side, group=name)
    return choices


def _copies(pictures: Sequence[Picture], keep_duplicates: bool) -> list[Choice]:
    """Which images are left out because their very bytes occur again."""
    choices = [Choice()] * len(pictures)
    same: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        same[picture.digest].append(i)
    for copies in same.values():
        if len(copies) == 1:
            continue
        copies.sort(key=lambda i: (not pictures[i].assigned, len(pictures[i].path), pictures[i].path))
        first = pictures[copies[0]]
        for i in copies:
            others = [pictures[j].path for j in copies if pictures[j].label != pictures[i].label]
            if others and not pictures[i].assigned:
                choices[i] = Choice(reason="two_labels", note=f"the same image as {others[0]}, under another label")
            elif i != copies[0] and not keep_duplicates and not pictures[i].assigned:
                choices[i] = Choice(reason="duplicate", note=f"a copy of {first.path}")
    return choices


def _units(
    pictures: Sequence[Picture], kept: list[int], near: Iterable[tuple[int, int]]
) -> tuple[list[list[int]], list[str]]:
    """The images that go together (same bytes, same group, near copies), and a name for each such unit."""
    leader = {i: i for i in kept}

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    seen: dict[str, int] = {}
    for i in kept:
        picture = pictures[i]
        if (first := seen.setdefault(f"digest {picture.digest}", i)) != i:
            leader[find(i)] = find(first)
        if picture.group and (first := seen.setdefault(f"group {picture.group}", i)) != i:
            leader[find(i)] = find(first)
    for i, j in near:
        if i in leader and j in leader:
            leader[find(i)] = find(j)
    together: dict[int, list[int]] = defaultdict(list)
    for i in kept:
        together[find(i)].append(i)
    units = list(together.values())
    return units, [_name([pictures[i] for i in unit]) for unit in units]


def _name(unit: list[Picture]) -> str:
    if len(unit) == 1:
        return unit[0].group
    groups = sorted({picture.group for picture in unit} - {""})
    if groups:
        return "+".join(groups)
    return "like " + min(picture.path for picture in unit)


def _size(unit: list[int], pictures: Sequence[Picture]) -> dict[str, int]:
    return {pictures[unit[0]].label: 1} if len(unit) == 1 else Counter(pictures[i].label for i in unit)


def _assign(pictures: Sequence[Picture], units: list[list[int]], ratio: Sequence[Decimal], seed: int) -> list[str]:
    """The subset of each unit."""
    sides = [next((pictures[i].assigned for i in unit if pictures[i].assigned), "") for unit in units]
    totals = Counter(pictures[i].label for unit in units for i in unit)
    ends = {label: borders(n, ratio) for label, n in totals.items()}
    free = sorted(
        (u for u, side in enumerate(sides) if not side),
        key=lambda u: rank(min([pictures[i].digest for i in units[u]]), seed),
    )
    sizes = {u: _size(units[u], pictures) for u in free}
    for part, subset in enumerate(SUBSETS[: len(ratio) - 1]):
        have = Counter(
            pictures[i].label
            for unit, side in zip(units, sides, strict=True)
            if side in SUBSETS[: part + 1]
            for i in unit
        )
        lacking = {label: max(0, ends[label][part] - have[label]) for label in totals}
        for u in split_fill.fill([sizes[u] for u in free], lacking):
            sides[free[u]] = subset
        free = [u for u in free if not sides[u]]
    for u in free:
        sides[u] = SUBSETS[len(ratio) - 1]
    return sides
