"""URLs on the command line or in a list -> samples; of a folder in a bucket, every object below it.

A listing comes in the order in which the storage gives it, by the bytes of the keys, a page at a time: memory does not
grow with the number of objects, and the first image is read while the rest is being listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from toolkit.core.errors import InputError
from toolkit.data.remote.fetch import find, look, patience, unknown
from toolkit.data.remote.stores import Store, open_bucket
from toolkit.data.remote.urls import BUCKETS, bucket_and_key, mark, shown
from toolkit.data.walk import Sample

LOOKS: Final = 64
"""Objects of a list that are looked at together."""


def check_url(url: str) -> None:
    """Open the storage, and look whether it holds an object or a folder of that name; a web server is not asked.

    Raises:
        InputError: there is none, or the storage cannot be listed.
        MachineError: the extra is missing.
        UsageError: the URL names no bucket.
    """
    if not url.startswith(BUCKETS):
        from toolkit.data.remote import web

        web.check()
        return
    if next(samples_at(url), None) is None:
        raise InputError(
            f"{shown(url)}: expected an object or a folder of objects, found nothing",
            hint="check the name; folders in object storage are the beginnings of names, up to a slash",
        )


def samples_at(url: str) -> Iterator[Sample]:
    """What `url` means: one file, one object, or all objects in a folder of a bucket, but for the markers of folders.

    Raises:
        InputError: the storage cannot be listed.
    """
    if not url.startswith(BUCKETS):
        yield unknown(url)
        return
    scheme, bucket, key = bucket_and_key(url)
    store = open_bucket(scheme, bucket, patience.limit_s)
    start = f"{scheme}://{bucket}/"
    if key and not key.endswith("/"):
        inside = _below(store, start, f"{key}/")
        first = next(inside, None)
        if first is None:
            if (found := find(start + key)) is not None:
                yield found
            return
        yield first
        yield from inside
        return
    yield from _below(store, start, key)


def _below(store: Store, start: str, prefix: str) -> Iterator[Sample]:
    for entry in store.listed(prefix):
        place = entry.key[len(prefix) :]
        if place and not place.endswith("/"):
            url = start + entry.key
            yield Sample(url, shown(url), entry.size, mark(entry.etag))


def folders_at(url: str) -> list[str]:
    """The names of the folders right below the folder `url` of a bucket.

    Raises:
        InputError: the storage cannot be listed.
    """
    scheme, bucket, key = bucket_and_key(url)
    prefix = f"{key.rstrip('/')}/" if key else ""
    return open_bucket(scheme, bucket, patience.limit_s).folders(prefix)


def not_looked_at(urls: Iterable[str]) -> Iterator[Sample]:
    """The samples of a list of URLs, as they are known before they are read."""
    return map(unknown, urls)


def looked_at(urls: Iterable[str]) -> Iterator[Sample]:
    """The samples of a list of URLs, many looked at together, in their order."""
    urls = iter(urls)
    with ThreadPoolExecutor(LOOKS) as pool:
        while chunk := list(islice(urls, 4 * LOOKS)):
            yield from pool.map(look, chunk)
