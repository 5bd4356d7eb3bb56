"""Which picture goes where: the stable rule of `split`, pure.

Within a class, pictures are ranked by a hash of their content and the seed, never by name or order. The first
`floor(n * ratio)` are the training part. `subsets` is the rule for one class; `train` holds out its validation part of
plain class folders with it, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from toolkit.errors import UsageError

SUBSETS: Final = ("train", "validation", "test")


def rank(digest: str, seed: int) -> bytes:
    """The place of a picture among those of its class: smaller comes first.

    Args:
        digest: SHA-256 of the file's bytes, hex.
        seed: another seed, another order.

    >>> rank("00", 0) == rank("00", 0) != rank("00", 1)
    True
    """
    return hashlib.sha256(f"{seed}:{digest}".encode()).digest()


def subsets(digests: Sequence[str], ratio: Sequence[Decimal], seed: int = 0) -> list[str]:
    """The subset of each picture of one class, by the stable rule.

    The same contents give the same subsets, whatever their order or names; one more picture moves at most one other
    over each border. Equal digests (copies) share a place and are never parted by a border between them.

    Args:
        digests: SHA-256 of the bytes of each picture, hex.
        ratio: as `parse_ratio` returns it.
        seed: another seed, another split.

    Returns:
        "train", "validation" or "test" for each digest.

    >>> subsets(["aa", "bb", "cc", "dd"], parse_ratio("0.75"))
    ['train', 'train', 'train', 'validation']
    """
    ordered = sorted(range(len(digests)), key=lambda i: rank(digests[i], seed))
    ends = borders(len(digests), ratio)
    chosen = [""] * len(digests)
    previous, subset = "", SUBSETS[0]
    for place, i in enumerate(ordered):
        if digests[i] != previous:
            subset = SUBSETS[sum(place >= end for end in ends[:-1])]
        chosen[i], previous = subset, digests[i]
    return chosen


def borders(n: int, ratio: Sequence[Decimal]) -> list[int]:
    """Where each part ends among `n` ranked pictures: `floor(n * (ratio so far))`, the last at n.

    >>> borders(90, parse_ratio("0.7")), borders(25, parse_ratio("0.8,0.1,0.1"))
    ([63, 90], [20, 22, 25])
    """
    ends = [int(n * sum(ratio[: i + 1], Decimal(0))) for i in range(len(ratio) - 1)]
    return [*ends, n]


def parse_ratio(text: str) -> tuple[Decimal, ...]:
    """`0.9` -> train and validation, `0.8,0.1,0.1` -> train, validation and test. Exact decimals.

    Raises:
        UsageError: no number, outside 0..1, or three parts that do not add up to 1.

    >>> parse_ratio("0.9")
    (Decimal('0.9'), Decimal('0.1'))
    """
    try:
        parts = tuple(Decimal(part.strip()) for part in text.split(","))
    except InvalidOperation:
        raise _bad_ratio(text, "that is no decimal number") from None
    if not all(part.is_finite() and 0 <= part <= 1 for part in parts):
        raise _bad_ratio(text, "each part must lie between 0 and 1")
    if len(parts) == 1:
        parts = (parts[0], 1 - parts[0])
    if not 2 <= len(parts) <= 3 or sum(parts) != 1:
        raise _bad_ratio(text, "two or three parts must add up to 1")
    return parts


def _bad_ratio(text: str, why: str) -> UsageError:
    return UsageError(f"--ratio {text}: {why}", hint="give the part for training, as in --ratio 0.9 or 0.8,0.1,0.1")
