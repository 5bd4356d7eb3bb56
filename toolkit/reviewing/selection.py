"""Rows of results -> what a page shows: counts, the order in which people look, and a sample where there are many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from toolkit.inference.result_table import EMPTY, ERROR, OK, UNSURE
from toolkit.inference.saved_results import SavedRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What a page shows of a table.

    Attributes:
        rows: in the order of looking: unsure first, then the least likely, empty and unreadable files last.
        n_rows: rows of the table.
        counts: label -> rows with it; of the whole table, sorted by label.
        n_unsure, n_errors, n_empty: of the whole table.
    """

    rows: Sequence[SavedRow]
    n_rows: int
    counts: dict[str, int]
    n_unsure: int
    n_errors: int
    n_empty: int = 0

    @property
    def noun(self) -> str:
        """What a row is: a file, or one of several detections in it."""
        return "row" if any(row.detection for row in self.rows) else "file"

    @property
    def sampled(self) -> bool:
        """Whether rows were left out."""
        return len(self.rows) < self.n_rows


def select(rows: Iterable[SavedRow], limit: int) -> Selection:
    """The rows that a page shows, at most `limit`: half of them unsure where there are so many, then each label alike.

    Of the rows of a label, one half are the least likely ones, the other half are spread evenly over the rest.
    """
    every = list({(row.path, row.detection): row for row in rows}.values())
    counts = Counter(row.label for row in every if row.status == OK)
    statuses = Counter(row.status for row in every)
    ordered = sorted(every, key=_urgency)
    return Selection(
        rows=ordered if len(ordered) <= limit else _sample(ordered, limit),
        n_rows=len(every),
        counts=dict(sorted(counts.items())),
        n_unsure=statuses[UNSURE],
        n_errors=statuses[ERROR],
        n_empty=statuses[EMPTY],
    )


def one_a_file(rows: Iterable[SavedRow]) -> Iterator[SavedRow]:
    """The first row of each file: where a detector saw several things in it, the one of which it was surest."""
    seen: set[str] = set()
    for row in rows:
        if row.path not in seen:
            seen.add(row.path)
            yield row


def _urgency(row: SavedRow) -> tuple[int, float]:
    return (UNSURE, OK, EMPTY, ERROR).index(row.status), row.likelihood or 0.0


def _sample(ordered: list[SavedRow], limit: int) -> list[SavedRow]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(ordered):
        groups[row.status, row.label].append(place)
    unsure, errors = groups.pop((UNSURE, ""), []), groups.pop((ERROR, ""), [])
    n_sure = sum(map(len, groups.values()))
    n_errors = min(len(errors), max(limit // 10, limit - n_sure - len(unsure)))
    n_unsure = min(len(unsure), max(limit // 2, limit - n_errors - n_sure))
    shares = _shares([len(places) for places in groups.values()], limit - n_errors - n_unsure)
    kept = [*unsure[:n_unsure], *errors[:n_errors]]
    for places, share in zip(groups.values(), shares, strict=True):
        kept += _spread(places, share)
    return [ordered[place] for place in sorted(kept)]


def _shares(sizes: list[int], total: int) -> list[int]:
    """`total` shared out alike; what a small one does not need goes to the others.

    >>> _shares([2, 10, 10], 12)
    [2, 5, 5]
    """
    shares = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for n_done, i in enumerate(order):
        shares[i] = min(sizes[i], total // (len(sizes) - n_done))
        total -= shares[i]
    return shares


def _spread(places: list[int], n: int) -> list[int]:
    """The first half of `n` from the front, the others at even distances from the rest.

    >>> _spread([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4)
    [0, 1, 2, 9]
    """
    front = n - n // 2
    rest = places[front:]
    n -= front
    if n == 1:
        return [*places[:front], rest[-1]]
    return [*places[:front], *(rest[k * (len(rest) - 1) // (n - 1)] for k in range(n))]
