"""The bytes of many files, examined in parallel: content hash, header, whether every pixel can be decoded."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from toolkit.errors import InputError
from toolkit.header import SUFFIXES, Header
from toolkit.preprocess import MAX_PIXELS, DecodeError, checked_header, verify
from toolkit.sources import Load, Problem, SourceFile

R = TypeVar("R")

CHUNK_FILES: Final = 32
CHUNK_BYTES: Final = 8 << 20
"""A task is this many files or bytes, whichever comes first, so that little is spent on handing tasks over."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of one file after it was read.

    Attributes:
        file: the file.
        digest: SHA-256 of its bytes, hex; "" where it could not be read.
        header: format and size; None where it is no readable picture.
        problem: why it is no readable picture, or None.
    """

    file: SourceFile
    digest: str = ""
    header: Header | None = None
    problem: Problem | None = None

    @property
    def flag(self) -> str:
        """What is odd about a readable picture: its extension lies. Else ""."""
        return lying_extension(self.file.name, self.header.format) if self.header else ""


def lying_extension(name: str, format: str) -> str:
    """A sentence where the suffix of `name` names another format than `format`, else "".

    >>> lying_extension("Cat/10501.jpg", "png")
    'a PNG named .jpg'
    >>> lying_extension("Cat/1.JPEG", "jpeg")
    ''
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES[format]:
        return ""
    return f"a {format.upper()} named {suffix}" if suffix else f"a {format.upper()} without a suffix"


def examine(file: SourceFile, load: Load, *, pixels: bool = True, max_pixels: int = MAX_PIXELS) -> Examined:
    """Read, hash and verify one file. What is wrong with it is part of the result, never raised.

    Args:
        file: the file; one that has a problem already is not read.
        load: reads its bytes.
        pixels: decode all pixels; False trusts the header.
        max_pixels: larger pictures are refused from their header.
    """
    if file.problem:
        return Examined(file, problem=file.problem)
    try:
        data = load()
    except InputError as error:
        return Examined(file, problem=Problem("unreadable", error.message))
    except OSError as error:
        return Examined(file, problem=Problem("unreadable", f"cannot be read: {error.strerror}"))
    digest = hashlib.sha256(data).hexdigest()
    try:
        header = verify(data, max_pixels=max_pixels) if pixels else checked_header(data, max_pixels)
    except DecodeError as error:
        return Examined(file, digest, problem=Problem(error.kind, error.message))
    return Examined(file, digest, header)


def parallel_map(
    function: Callable[[SourceFile, Load], R], items: Iterable[tuple[SourceFile, Load]], workers: int
) -> Iterator[R]:
    """`function` of each item, in order, in `workers` threads; a bounded number of items is in flight."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    pending: deque[Future[list[R]]] = deque()
    with ThreadPoolExecutor(workers, "examine") as pool:
        try:
            for chunk in _chunks(items):
                pending.append(pool.submit(_map_chunk, function, chunk))
                if len(pending) > 2 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _map_chunk(function: Callable[[SourceFile, Load], R], chunk: list[tuple[SourceFile, Load]]) -> list[R]:
    return [function(file, load) for file, load in chunk]


def _chunks(items: Iterable[tuple[SourceFile, Load]]) -> Iterator[list[tuple[SourceFile, Load]]]:
    chunk: list[tuple[SourceFile, Load]] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += item[0].size
        if len(chunk) == CHUNK_FILES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def available_cpus() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
