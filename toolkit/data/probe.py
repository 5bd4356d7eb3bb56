"""The bytes of many files, examined in parallel: content hash, header, whether every pixel can be decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

from toolkit.core.errors import InputError
from toolkit.core.machine import usable_cpus
from toolkit.core.parallel import in_threads
from toolkit.core.progress import Progress
from toolkit.data.class_source import Load, Problem, Source, SourceFile
from toolkit.images.header import SUFFIXES, DecodeError, Header, read_header
from toolkit.images.limits import LARGE_FILE_BYTES, Limits

if TYPE_CHECKING:
    from toolkit.images.near_duplicates import Sketch

R = TypeVar("R")

CHUNK_FILES: Final = 64
CHUNK_BYTES: Final = 8 << 20
"""A task is this many files or bytes, whichever comes first, so that little is spent on handing tasks over."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of one file after it was read.

    Attributes:
        file: the file.
        digest: SHA-256 of its bytes, hex; "" where it could not be read.
        header: format and size; None where it is not a readable image.
        problem: why it is not a readable image, or None.
        sketch: a small image to find near copies with, where that was asked for.
    """

    file: SourceFile
    digest: str = ""
    header: Header | None = None
    problem: Problem | None = None
    sketch: Sketch | None = None

    @property
    def flag(self) -> str:
        """What is odd about a readable image: its extension is wrong. Else ""."""
        return lying_extension(self.file.name, self.header.format) if self.header else ""


def lying_extension(name: str, format: str) -> str:
    """A sentence where the suffix of `name` names another format than `format`, else "".

    >>> lying_extension("Cat/10501.jpg", "png")
    'a PNG named .jpg'
    >>> lying_extension("Cat/1.JPEG", "jpeg")
    ''
    """
    if name.lower().endswith(tuple(SUFFIXES[format])):
        return ""
    suffix = os.path.splitext(name)[1].lower()
    return f"a {format.upper()} named {suffix}" if suffix else f"a {format.upper()} without a suffix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """How closely to look.

    Attributes:
        pixels: decode every pixel; False trusts the headers.
        sketch: keep a small image of each, to find near copies with.
        limits: how large an image may be, and what decoding it may cost.
        workers: threads; None is one per processor.
    """

    pixels: bool = True
    sketch: bool = False
    limits: Limits = field(default_factory=Limits)
    workers: int | None = None


def examine(file: SourceFile, load: Load, look: Look, limits: Limits) -> Examined:
    """Read, hash and examine one file. What is wrong with it is part of the result, never raised."""
    digest = ""
    try:
        with limits.unread(file.size):
            data = load()
            digest = hashlib.sha256(data).hexdigest()
            header, sketch = look(data)
    except (InputError, OSError) as error:
        return Examined(file, digest, problem=problem_of(error))
    return Examined(file, digest, header, sketch=sketch)


def problem_of(error: InputError | OSError) -> Problem:
    """What is wrong with a file that could not be read or decoded."""
    if isinstance(error, DecodeError):
        return Problem(error.kind, error.message)
    reason = error.message if isinstance(error, InputError) else f"cannot be read: {error.strerror}"
    return Problem("unreadable", reason)


Look = Callable[[bytes], "tuple[Header, Sketch | None]"]


def _look(how: Examination) -> Look:
    """What is done with the bytes of a file. OpenCV and numpy are loaded only where pixels are wanted."""
    limits = how.limits
    if not how.pixels and not how.sketch:
        return lambda data: (read_header(data, limits.max_pixels), None)
    from toolkit.images import decode as preprocess
    from toolkit.images import near_duplicates as similarity

    if how.sketch:
        return lambda data: (read_header(data, limits.max_pixels), similarity.sketch(data, limits))
    return lambda data: (preprocess.verify(data, limits=limits), None)


def _threads(how: Examination) -> AbstractContextManager[None]:
    if not how.pixels and not how.sketch:
        return nullcontext()
    from toolkit.images.opencv_threads import one_opencv_thread

    return one_opencv_thread()


def examine_all(source: Source, how: Examination, progress: Progress) -> list[Examined]:
    """Every file of `source`, in its order."""
    look = _look(how)
    examined = {file.name: Examined(file, problem=file.problem) for file in source.files if file.problem}
    readable = [file for file in source.files if not file.problem]
    progress.start("reading", len(readable))
    try:
        loads = source.loads(readable)
        with _threads(how):
            for result in parallel_map(lambda file, load: examine(file, load, look, how.limits), loads, how.workers):
                examined[result.file.name] = result
                progress.advance()
    finally:
        progress.finish()
    return [examined[file.name] for file in source.files]


def parallel_map(
    function: Callable[[SourceFile, Load], R], items: Iterable[tuple[SourceFile, Load]], workers: int | None = None
) -> Iterator[R]:
    """`function` of each item, in order, in `workers` threads (None: one per processor); few are in flight at once."""
    workers = usable_cpus() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    for results in in_threads(partial(_map_chunk, function), _chunks(items), workers):
        yield from results


def _map_chunk(function: Callable[[SourceFile, Load], R], chunk: _Chunk) -> list[R]:
    try:
        return [function(file, load) for file, load in chunk.items]
    finally:
        chunk.items.clear()  # with them go the bytes of an archive's members
        chunk.done.set()


@dataclass(slots=True)
class _Chunk:
    items: list[tuple[SourceFile, Load]] = field(default_factory=list)
    size: int = 0
    done: Event = field(default_factory=Event)


def _chunks(items: Iterable[tuple[SourceFile, Load]]) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for item in items:
        chunk.items.append(item)
        chunk.size += item[0].size
        if len(chunk.items) == CHUNK_FILES or chunk.size > CHUNK_BYTES:
            yield chunk
            if chunk.size > LARGE_FILE_BYTES:  # an archive's large member is in memory: the next is read after it
                chunk.done.wait()
            chunk = _Chunk()
    if chunk.items:
        yield chunk
