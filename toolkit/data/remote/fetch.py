"""One image behind a URL: its bytes, with attempts, waits between them and a time limit for each."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from toolkit.core.errors import InputError, UsageError
from toolkit.data.read import MAX_FILE_BYTES, SNIFF_FIRST_BYTES, ReadError
from toolkit.data.remote import stores, web
from toolkit.data.remote.stores import Body, Entry, FetchError, NotThereError, Store, open_bucket
from toolkit.data.remote.urls import BUCKETS, bucket_and_key, mark, shown
from toolkit.data.walk import Sample, sample
from toolkit.images.header import DecodeError, not_an_image, sniff

Found = TypeVar("Found")

_HEAD_BYTES: Final = 512
_DOWNLOAD_S: Final = 3600.0
"""What a result file may take, however large."""

_LARGE = threading.Semaphore(2)
"""So many large bodies are read at a time whose sizes the server does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often something is tried, and how long.

    Attributes:
        attempts: 1 or more.
        wait_s: the longest wait before the second attempt; twice that before the third, and so on.
        longest_s: no wait is longer.
        limit_s: of one attempt.
    """

    attempts: int = 5
    wait_s: float = 0.25
    longest_s: float = 10.0
    limit_s: float = 60.0

    def waits(self) -> Iterator[float]:
        """Seconds between the attempts, each a random share of at least a half: readers that failed together part."""
        for attempt in range(self.attempts - 1):
            yield min(self.longest_s, self.wait_s * 2**attempt) * random.uniform(0.5, 1.0)


patience = Patience()


def read_remote(wanted: Sample, stop: threading.Event | None = None) -> tuple[Sample, bytes]:
    """All bytes of an object, and the sample with the size and mark that belong to them.

    Args:
        stop: once set, there is no further attempt.

    Raises:
        ReadError: it cannot be read, after the last attempt.
        DecodeError: it is too large, or large and no image by its first bytes.
    """
    etag, data = _patiently(lambda limit_s: _read(wanted.path, limit_s), stop)
    return (wanted if wanted.size == len(data) else wanted._replace(size=len(data), mtime_ns=mark(etag))), data


def look(url: str, *, missing_ok: bool = True) -> Sample:
    """The sample of one object, with size and mark where the server tells them.

    Raises:
        NotThereError: there is none, and that is not `missing_ok`.
    """
    try:
        found = _patiently(lambda limit_s: _head(url, limit_s))
    except ReadError as error:
        if not missing_ok and isinstance(error.__context__, NotThereError):
            raise error.__context__ from None
        return unknown(url)
    return Sample(url, shown(url), found.size, mark(found.etag))


def find(url: str) -> Sample | None:
    """As `look`; None where there is no such object."""
    try:
        return look(url, missing_ok=False)
    except NotThereError:
        return None


def unknown(url: str) -> Sample:
    """The sample of an object that nobody has looked at."""
    return sample(url, url)


def forget() -> None:
    """Close everything, so that the environment is looked at again."""
    stores.forget()
    web.forget()


def download(url: str, target: Path) -> None:
    """Copy an object of any size to `target`.

    Raises:
        InputError: it cannot be read.
    """

    def attempt(_: float) -> None:
        body = _body(url, _DOWNLOAD_S)
        with target.open("wb") as file:
            for piece in (body.content,) if isinstance(body.content, bytes) else body.content:
                file.write(piece)
            if body.size not in (None, file.tell()):
                raise FetchError("it ended early", again=True)

    try:
        _patiently(attempt)
    except ReadError as error:
        raise InputError(f"{shown(url)}: {error.message}", hint="check the URL") from None


def _patiently(attempt: Callable[[float], Found], stop: threading.Event | None = None) -> Found:
    waits: Iterator[float] | None = None
    for number in range(1, patience.attempts + 1):
        try:
            return attempt(patience.limit_s)
        except FetchError as error:
            waits = waits or patience.waits()
            wait_s = next(waits, None)
            if not error.again or wait_s is None or (stop is not None and stop.is_set()):
                tried = f" ({number} attempts)" if number > 1 else ""
                raise ReadError(f"cannot be read: {error.reason}{tried}") from None
        if stop is None:
            time.sleep(wait_s)
        else:
            stop.wait(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _store(url: str, limit_s: float) -> tuple[Store, str]:
    """One URL of many that is none is an error of its image, not the end of a run."""
    try:
        scheme, bucket, key = bucket_and_key(url)
        return open_bucket(scheme, bucket, limit_s), key
    except UsageError:
        raise FetchError("this URL names no bucket, or holds credentials", again=False) from None
    except InputError as error:
        raise FetchError(error.message, again=False) from None


def _head(url: str, limit_s: float) -> Entry:
    if not url.startswith(BUCKETS):
        return web.head(url, limit_s)
    store, key = _store(url, limit_s)
    return store.head(key)


def _body(url: str, limit_s: float) -> Body:
    if not url.startswith(BUCKETS):
        return web.get(url, limit_s)
    store, key = _store(url, limit_s)
    return store.get(key, limit_s)


def _read(url: str, limit_s: float) -> tuple[str, bytes]:
    """ETag and bytes, in one attempt."""
    end = time.monotonic() + limit_s
    body = _body(url, limit_s)
    data = body.content if isinstance(body.content, bytes) else _joined(body, body.content, end)
    if body.size not in (None, len(data)):
        raise FetchError("it ended early", again=True)
    return body.etag, data


def _joined(body: Body, content: Generator[bytes, None, None], end: float) -> bytes:
    """All pieces, by the rules of `toolkit.data.read.read`: a large body only where it begins like an image."""
    pieces: list[bytes] = []
    size, sniffed = 0, False
    with ExitStack() as held:
        held.enter_context(closing(content))
        for piece in content:
            pieces.append(piece)
            size += len(piece)
            known = max(size, body.size or 0)
            if known > MAX_FILE_BYTES:
                raise DecodeError("too_large", f"too large: {known:,} bytes or more in one file")
            if known > SNIFF_FIRST_BYTES and size >= _HEAD_BYTES and not sniffed:
                head = b"".join(pieces)[:_HEAD_BYTES]
                if sniff(head) is None:
                    raise not_an_image(head)
                sniffed = True
                if body.size is None:
                    begun = time.monotonic()
                    held.enter_context(_LARGE)
                    end += time.monotonic() - begun
            if time.monotonic() > end:
                raise FetchError("it took too long", again=True)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
