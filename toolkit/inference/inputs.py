"""What a run was asked to label: folders, files and lists -> one deterministic stream of samples.

A folder is walked while it is labelled; of a folder's files no more than the names are in memory at a time.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache
from itertools import groupby
from typing import BinaryIO, Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.text import printable
from toolkit.data.detections import Detections
from toolkit.data.passed_over import PassedOver, images_in
from toolkit.data.remote.urls import is_remote, remote_url, shown, shown_input
from toolkit.data.walk import Sample, is_hidden, may_be_image, sample, slashes
from toolkit.inference.distributed.shard import Listing, Shard

STDIN: Final = "-"
"""The input that stands for a list of paths on stdin."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of one run, in the order given.

    Attributes:
        paths: files, folders, URLs, or "-" for a list of files and URLs on stdin.
        include: where given, only files of folders that match one of these patterns are taken.
        exclude: files and folders in folders that match one of these patterns are left out.
        shard: the part of the files that this run takes; None takes all.
        null: the list on stdin is separated by NUL instead of newlines.
        stdin: where the list comes from.
        detections: what a detector saw in the files; each detection is a sample of its own.
        looks: URLs of a list are looked at before they are read, so that unchanged ones need not be.

    A pattern with `*`, `?` and `[...]` is matched against the name of a file, or of any folder above it within the
    input; a pattern with a slash against the place inside the input (`*` also crosses slashes).
    """

    paths: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shard: Shard | None = None
    null: bool = False
    stdin: BinaryIO | None = None
    detections: Detections | None = None
    looks: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(remote_url(path) or path for path in self.paths))

    def any_url(self, samples: Iterable[Sample] = ()) -> bool:
        """Whether one of the inputs, or of `samples`, is a URL."""
        return any(map(is_remote, self.paths)) or any(is_remote(sample.path) for sample in samples)

    @property
    def shown(self) -> list[str]:
        """The inputs as they may be written and printed."""
        return [shown_input(path) for path in self.paths]

    def check(self) -> None:
        """Look whether every input is there, before any work is done.

        Raises:
            InputError: one is missing.
            MachineError: a URL needs an extra that is not installed.
        """
        for path in self.paths:
            if is_remote(path):
                from toolkit.data.remote.listing import check_url

                if self.detections is not None:
                    raise UsageError(f"{shown(path)}: --detections is for files of this machine")
                check_url(path)
            elif path != STDIN and not os.path.lexists(path):
                raise InputError(
                    f"{printable(path)}: expected a file or a folder, found nothing",
                    hint="check the path, or list its parent",
                )

    def samples(self, counts: PassedOver, listing: Listing | None = None) -> Iterator[Sample]:
        """Every sample of the shard, folders depth first with sorted names; `counts` and `listing` are kept up to date.

        Raises:
            InputError: a folder cannot be read.
        """
        for found in self._taken(counts, listing):
            one = found if isinstance(found, Sample) else sample(*found)
            for each in (one,) if self.detections is None else self.detections.of(one):
                if listing is not None:
                    listing.took(each.name)
                yield each

    def count_all(self, stop: threading.Event) -> int | None:
        """How many samples there are, exactly, from the names alone; None where `stop` was set.

        A list on stdin is read to its end, and stands at its beginning again.
        """
        n = 0
        for found in replace(self, looks=False)._taken(PassedOver(), None):
            n += 1 if self.detections is None else sum(1 for _ in self.detections.of(Sample(*found[:2], 0, 0)))
            if stop.is_set():
                return None
        if STDIN in self.paths and self.stdin is not None:
            self.stdin.seek(0)
        return n

    def _taken(self, counts: PassedOver, listing: Listing | None) -> Iterator[_Found]:
        """Every file of the shard, each file once."""
        seen: set[bytes] | None = set() if len(self.paths) > 1 or STDIN in self.paths else None
        holds = self._holds()
        where = _where()
        for found in self._named(counts):
            path, name = found[:2]
            if listing is not None:
                listing.saw(printable(name))
            if not holds(path, name):
                continue
            if seen is not None:
                key = hashlib.blake2b(os.fsencode(where(path)), digest_size=16).digest()
                if key in seen:
                    counts.repeated += 1
                    continue
                seen.add(key)
            yield found

    def _holds(self) -> Callable[[str, str], bool]:
        """Whether (path, name) is in the shard: by its name, or by one for all where a file may be given twice."""
        shard = self.shard
        if shard is None or shard.count == 1:
            return lambda _path, _name: True
        if len(self.paths) == 1 and STDIN not in self.paths:
            return lambda _path, name: shard.holds(printable(name))
        here, where = os.path.join(os.path.realpath(""), ""), _where()

        def holds(path: str, name: str) -> bool:
            return shard.holds(name if is_remote(path) else slashes(printable(where(path).removeprefix(here))))

        return holds

    def count(self, stop: threading.Event) -> int | None:
        """How many samples there are, from the names alone.

        None where `stop` was set, where a list is still to come, and for URLs: who lists them twice pays twice.

        Raises:
            InputError: a folder cannot be read.
        """
        if STDIN in self.paths or any(map(is_remote, self.paths)):
            return None
        n = 0
        holds = self._holds()
        for path, name in (found[:2] for found in self._named(PassedOver())):
            if holds(path, name):
                n += 1 if self.detections is None else sum(1 for _ in self.detections.of(Sample(path, name, 0, 0)))
            if stop.is_set():
                return None
        return n

    def _named(self, counts: PassedOver) -> Iterator[_Found]:
        """Every file, in order."""
        for path in self.paths:
            if path == STDIN:
                yield from self._of_list(self._listed())
            elif is_remote(path):
                yield from self._of_url(path, counts)
            elif os.path.isdir(path):
                wanted = _Patterns(self.include, self.exclude)
                start = os.path.join(path, "")
                for place in _images(path, wanted, counts):
                    full = start + place
                    yield full, slashes(full)
            else:
                yield path, slashes(path)

    def _of_list(self, listed: Iterator[str]) -> Iterator[_Found]:
        """Paths and URLs; of these, each run that follows one another is looked at together."""
        for remote, paths in groupby(listed, key=is_remote):
            if not remote:
                yield from ((path, slashes(path)) for path in paths)
                continue
            from toolkit.data.remote.listing import looked_at, not_looked_at

            look = looked_at if self.looks else not_looked_at
            yield from look(paths)

    def _of_url(self, url: str, counts: PassedOver) -> Iterator[_Found]:
        from toolkit.data.remote.listing import looked_at, samples_at

        wanted, start = _Patterns(self.include, self.exclude), url.rstrip("/") + "/"
        for found in samples_at(url):
            if not found.path.startswith(start):
                yield from looked_at([url]) if self.looks and found.size < 0 else [found]
            elif is_hidden(place := found.path.removeprefix(start)):
                counts.hidden += 1
            elif not may_be_image(place):
                counts.add(place)
            elif wanted.any and (wanted.prunes_any(place) or not wanted.takes(place)):
                counts.excluded += 1
            else:
                yield found

    def _listed(self) -> Iterator[str]:
        if self.stdin is None:
            raise UsageError(
                "'-' reads a list of paths from stdin, and there is none", hint="ls *.jpg | toolkit infer -"
            )
        lines = _split(self.stdin, b"\0") if self.null else (line.rstrip(b"\r\n") for line in self.stdin)
        return (os.fsdecode(line) for line in lines if line)


_Found = tuple[str, str] | Sample
"""Path and name of a file; of an object also its size, where that came with the listing."""


def _where() -> Callable[[str], str]:
    """Path -> its one absolute name, whatever links lead to its folder; a link to a file stays a file of its own."""
    real = lru_cache(maxsize=64)(os.path.realpath)

    def where(path: str) -> str:
        if is_remote(path):
            return path
        folder, name = os.path.split(path)
        return os.path.join(real(folder), name)

    return where


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(1 << 16):
        *whole, rest = (rest + block).split(separator)
        yield from whole
    yield rest


class _Patterns:
    """`--include` and `--exclude`, compiled."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._include = _matcher(include)
        self._exclude = _matcher(exclude)
        self.any = self._include is not None or self._exclude is not None

    def prunes(self, place: str, name: str) -> bool:
        """Whether the folder at `place` is left out with all below it."""
        return self._exclude is not None and self._exclude(place, name)

    def prunes_any(self, place: str) -> bool:
        """Whether one of the folders above `place` is left out."""
        parts = place.split("/")[:-1]
        return any(self.prunes("/".join(parts[: depth + 1]), name) for depth, name in enumerate(parts))

    def takes(self, place: str) -> bool:
        """Whether the file at `place` is taken."""
        name = place.rpartition("/")[2]
        if self._exclude is not None and self._exclude(place, name):
            return False
        if self._include is None:
            return True
        return self._include(place, name) or any(self._include("", folder) for folder in place.split("/")[:-1])


def _matcher(patterns: Iterable[str]) -> Callable[[str, str], bool] | None:
    whole = [translate(pattern.strip("/")) for pattern in patterns if "/" in pattern.strip("/")]
    names = [translate(pattern.strip("/")) for pattern in patterns if "/" not in pattern.strip("/")]
    if not whole and not names:
        return None
    in_place = re.compile("|".join(whole)) if whole else None
    in_name = re.compile("|".join(names)) if names else None

    def matches(place: str, name: str) -> bool:
        return bool((in_name and in_name.match(name)) or (in_place and in_place.match(place)))

    return matches


def _images(root: str, wanted: _Patterns, counts: PassedOver) -> Iterator[str]:
    """Places inside `root`, with the system's separator, of its images."""
    for place in images_in(root, counts, wanted.prunes):
        if wanted.any and not wanted.takes(slashes(place)):
            counts.excluded += 1
        else:
            yield place
