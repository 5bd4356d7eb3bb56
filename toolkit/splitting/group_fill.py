"""Groups that must stay whole -> which of them make up a subset of a given size, exactly where that is possible.

Units of one class are taken in their order; where the last one does not fit, an exact subset sum over the units around
that border decides, widened until it succeeds. Units that hold several classes (a patient with healthy and infected
cells) come first, by a local search; the one-class units then make up for what is missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Sizes = Mapping[str, int]
"""Class -> number of images."""

_SWAP_CELLS = 4_000_000


def fill(units: Sequence[Sizes], wanted: Sizes) -> list[int]:
    """Indices of the units to take so that each class gets the wanted number of images, or as near as they allow.

    Args:
        units: in order of preference; of equally good choices the one nearest to the first units is taken.
        wanted: class -> number of images.

    >>> fill([{"a": 3}, {"a": 3}, {"a": 2}, {"a": 2}], {"a": 5})
    [0, 2]
    >>> fill([{"a": 4}, {"a": 4}], {"a": 5})
    [0]
    """
    mixed = [u for u, sizes in enumerate(units) if len(sizes) > 1]
    single: dict[str, list[int]] = defaultdict(list)
    for u, sizes in enumerate(units):
        if len(sizes) == 1:
            single[next(iter(sizes))].append(u)
    taken = _fill_mixed([units[u] for u in mixed], _aim(units, mixed, single, wanted)) if mixed else []
    chosen = [mixed[u] for u in taken]
    have: Counter[str] = Counter()
    for u in chosen:
        have.update(units[u])
    for label, members in single.items():
        sizes_of_members = [units[u][label] for u in members]
        chosen += [members[i] for i in fill_one(sizes_of_members, wanted.get(label, 0) - have[label])]
    return sorted(chosen)


def fill_one(sizes: Sequence[int], wanted: int) -> list[int]:
    """Indices whose sizes add up to `wanted`, or as near as any choice can come (below rather than above).

    >>> fill_one([1, 1, 1, 1], 3)
    [0, 1, 2]
    >>> fill_one([5, 5, 1], 6)
    [0, 2]
    """
    end = total = 0
    while end < len(sizes) and total + sizes[end] <= wanted:
        total += sizes[end]
        end += 1
    if total == wanted or end == len(sizes):
        return list(range(end))
    reach = 8
    while True:
        low, high = max(0, end - reach), min(len(sizes), end + reach)
        need = wanted - sum(sizes[:low])
        counts = _subset_sum(Counter(sizes[low:high]), need)
        whole = low == 0 and high == len(sizes)
        if whole or sum(size * n for size, n in counts.items()) == need:
            break
        reach *= 4
    picked = list(range(low))
    for i in range(low, high):
        if counts[sizes[i]] > 0:
            counts[sizes[i]] -= 1
            picked.append(i)
    return picked


def _subset_sum(available: Counter[int], need: int) -> Counter[int]:
    """How many of each size add up to `need`, or as near to it as possible. Exact: sums are the bits of an integer."""
    steps: list[tuple[int, int, int]] = []
    reachable = 1
    for size in sorted(available, reverse=True):
        left, chunk = available[size], 1
        while left:
            chunk = min(chunk, left)
            steps.append((size, chunk, reachable))
            reachable |= reachable << size * chunk
            left -= chunk
            chunk *= 2
    best = _nearest_bit(reachable, need)
    counts: Counter[int] = Counter()
    for size, chunk, before in reversed(steps):
        if not before >> best & 1:
            best -= size * chunk
            counts[size] += chunk
    return counts


def _nearest_bit(bits: int, position: int) -> int:
    """The set bit nearest to `position`, the lower of two."""
    below = bits & ((1 << position + 1) - 1) if position >= 0 else 0
    above = bits >> max(0, position)
    low = below.bit_length() - 1
    high = max(0, position) + (above & -above).bit_length() - 1 if above else -1
    if low < 0 or (high >= 0 and high - position < position - low):
        return high
    return low


def _aim(units: Sequence[Sizes], mixed: list[int], single: Mapping[str, list[int]], wanted: Sizes) -> Sizes:
    """What the mixed units should hold: their share, within what the one-class units can make up for."""
    in_mixed: Counter[str] = Counter()
    for u in mixed:
        in_mixed.update(units[u])
    aim = {}
    for label, n in in_mixed.items():
        slack = sum(units[u][label] for u in single.get(label, ()))
        share = wanted.get(label, 0) * n // (n + slack)
        aim[label] = min(max(share, wanted.get(label, 0) - slack), n)
    return aim


def _fill_mixed(units: Sequence[Sizes], aim: Sizes) -> list[int]:
    """Units whose sum lies near `aim` in every class: greedy in their order, then the best swaps until none helps."""
    import numpy as np

    labels = sorted(aim)
    sizes = np.array([[unit.get(label, 0) for label in labels] for unit in units], np.int64)  # (U, C)
    missing = np.array([aim[label] for label in labels], np.int64)  # (C,)
    taken = np.zeros(len(units), bool)
    for u in range(len(units)):
        if np.abs(missing - sizes[u]).sum() < np.abs(missing).sum():
            taken[u] = True
            missing = missing - sizes[u]
    while (step := _best_step(sizes, missing, taken)) is not None:
        for u in step:
            missing = missing + (sizes[u] if taken[u] else -sizes[u])
            taken[u] = not taken[u]
    return [int(u) for u in np.flatnonzero(taken)]


def _best_step(
    sizes: npt.NDArray[np.int64], missing: npt.NDArray[np.int64], taken: npt.NDArray[np.bool_]
) -> tuple[int, ...] | None:
    """The flip of one unit, or the swap of two, that brings the sum nearest; None where none brings it nearer."""
    import numpy as np

    now = int(np.abs(missing).sum())
    change = np.where(taken[:, None], sizes, -sizes)  # (U, C), added to `missing` by a flip
    flips = np.abs(missing + change).sum(axis=1)
    best = int(flips.min())
    step: tuple[int, ...] = (int(flips.argmin()),)
    width = max(2, int((_SWAP_CELLS / sizes.shape[1]) ** 0.5))
    inside, outside = np.flatnonzero(taken)[-width:], np.flatnonzero(~taken)[:width]
    if len(inside) and len(outside):
        swaps = np.abs(missing + change[inside][:, None] + change[outside][None]).sum(axis=2)
        i, j = np.unravel_index(int(swaps.argmin()), swaps.shape)
        if swaps[i, j] < best:
            best, step = int(swaps[i, j]), (int(inside[i]), int(outside[j]))
    return step if best < now else None
