"""The images of a folder, and what is passed over there: every command counts it, so that nothing is skipped unseen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from toolkit.core.text import printable
from toolkit.data.walk import Prune, is_hidden, is_image, slashes, walk

SUFFIXES_SHOWN: Final = 6


@dataclass(slots=True)
class PassedOver:
    """What a command passed over, for its summary.

    Attributes:
        suffixes: of files that are not images, in lower case -> how many; "" for names without one.
        excluded: files that a pattern left out.
        repeated: files that an earlier input held already.
        hidden: files that are hidden or in a hidden folder (see `is_hidden`), whatever they are.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    repeated: int = 0
    hidden: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> PassedOver:
        """These files, none of which is an image."""
        found = cls()
        for name in names:
            found.add(name)
        return found

    def add(self, name: str) -> None:
        """One more file that is not an image."""
        self.suffixes[os.path.splitext(name)[1].lower()] += 1

    @property
    def others(self) -> int:
        """Files that are not images."""
        return self.suffixes.total()

    def __str__(self) -> str:
        """In words; "" where nothing was passed over.

        >>> str(PassedOver(suffixes=Counter({".txt": 41}), hidden=2, excluded=3))
        'passed over: 41 .txt, 2 hidden, 3 excluded'
        """
        return f"passed over: {self.named}" if self.named else ""

    @property
    def named(self) -> str:
        """The same without its first words."""
        named = [self.by_suffix] if self.suffixes else []
        named += [f"{self.hidden:,} hidden"] if self.hidden else []
        named += [f"{self.excluded:,} excluded"] if self.excluded else []
        named += [f"{self.repeated:,} given twice"] if self.repeated else []
        return ", ".join(named)

    @property
    def by_suffix(self) -> str:
        """Files that are not images, in words, the most frequent suffix first.

        >>> PassedOver.of(["a.txt", "b.TXT", "c.mov", "Makefile"]).by_suffix
        '2 .txt, 1 without a suffix, 1 .mov'
        """
        ordered = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{n:,} {printable(suffix) or 'without a suffix'}" for suffix, n in ordered[:SUFFIXES_SHOWN]]
        if rest := sum(n for _, n in ordered[SUFFIXES_SHOWN:]):
            named.append(f"{rest:,} others")
        return ", ".join(named)


def images_in(folder: str, counts: PassedOver, prune: Prune | None = None) -> Iterator[str]:
    """The place of every image below `folder`, with the system's separator, in the order of `walk`.

    All else is counted in `counts`. Unreadable folders come out, too, unless they are hidden.

    Args:
        prune: which folders to leave out uncounted.

    Raises:
        InputError: as `walk`.
    """
    start = os.path.join(folder, "")
    for place in walk(folder, hidden=True, prune=prune):
        if is_hidden(slashes(place)):
            counts.hidden += 1
        elif is_image(start + place):
            yield place
        else:
            counts.add(place)
