"""URLs of images: which there are, and how they are shown without anything secret in them."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from toolkit.core.errors import UsageError
from toolkit.core.ownership import refuse_stdout
from toolkit.core.text import printable

BUCKETS: Final = ("s3", "gs", "az")
"""Schemes of object storage, where a URL may also be that of a folder."""

_STARTS: Final = ("s3://", "gs://", "az://", "http://", "https://")
_ANY: Final = re.compile(r"(s3|gs|az|https?):(/{1,2})(?=[^/])")

_SECRET: Final = re.compile(r"sig|token|secret|passw|credential|auth|key|policy|session|x-amz-|x-goog-|x-ms-", re.I)
"""Names of parameters of a query that sign it or let somebody in."""

_SIGNED: Final = re.compile("expires|se|sp|spr|sr|st|sv|ske|skoid|sks|skt|sktid|skv", re.I)
"""Parameters that mean nothing without the signature beside them."""


def is_remote(path: str) -> bool:
    """Whether `path` is a URL.

    >>> is_remote("s3://photos/Cat/1.jpg"), is_remote("photos/s3/1.jpg")
    (True, False)
    """
    return path.startswith(_STARTS)


def remote_url(path: str | os.PathLike[str]) -> str | None:
    """The URL that `path` is, also where a `Path` has made one slash of two; None for a path of this machine.

    >>> from pathlib import PurePosixPath
    >>> remote_url(PurePosixPath("s3://photos/Cat")), remote_url("photos/Cat")
    ('s3://photos/Cat', None)
    """
    text = os.fspath(path)
    found = _ANY.match(text)
    if found is None or (found[2] == "/" and os.path.lexists(text)):
        return None
    return f"{found[1]}://{text[found.end() :]}"


def bucket_and_key(url: str) -> tuple[str, str, str]:
    """Scheme, bucket and key of an object; whatever follows the bucket is the key, as it stands.

    Raises:
        UsageError: there is no bucket, or there are credentials.

    >>> bucket_and_key("s3://photos/Cat/a b?.jpg")
    ('s3', 'photos', 'Cat/a b?.jpg')
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise UsageError(
            f"{shown(url)}: credentials in a URL are not taken", hint="set them in the environment, and leave them out"
        )
    if not bucket:
        raise UsageError(f"{shown(url)}: expected {scheme}://BUCKET/…", hint="name the bucket")
    return scheme, bucket, key


def shown(url: str) -> str:
    """`url` as it may be printed and written: without user, password, and what signs a query.

    >>> shown("https://me:word@example.org/1.jpg?id=5&X-Amz-Signature=ab12&X-Amz-Expires=60")
    'https://example.org/1.jpg?id=5'
    >>> shown("s3://photos/Cat/a?b.jpg")
    's3://photos/Cat/a?b.jpg'
    """
    scheme, _, rest = url.partition("://")
    host, slash, place = rest.partition("/")
    host = host.rpartition("@")[2]
    if scheme in BUCKETS:
        return printable(f"{scheme}://{host}{slash}{place}")
    try:
        parts = urlsplit(f"{scheme}://{host}{slash}{place}")
    except ValueError:
        return f"{scheme}://{printable(host.partition('?')[0])}"
    pairs = [pair for pair in parts.query.split("&") if pair]
    if any(_SECRET.search(pair.partition("=")[0]) for pair in pairs):
        names = [pair.partition("=")[0] for pair in pairs]
        pairs = [
            pair
            for pair, name in zip(pairs, names, strict=True)
            if not _SECRET.search(name) and not _SIGNED.fullmatch(name)
        ]
    return printable(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "&".join(pairs), "")))


def shown_input(path: str | os.PathLike[str]) -> str:
    """An input of a run, path or URL, as it may be printed and written."""
    url = remote_url(path)
    return printable(os.fspath(path)) if url is None else shown(url)


def mark(etag: str) -> int:
    """What stands in the place of a modification time: a negative number that changes with the ETag; 0 for none.

    >>> mark('"9b2cf5"') == mark('W/"9b2cf5"') < 0
    True
    """
    text = etag.removeprefix("W/").strip('"')
    return -1 - (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2) if text else 0


def refuse_remote_out(out: str | os.PathLike[str], option: str = "--out") -> None:
    """Results are written on this machine.

    Raises:
        UsageError: `out` is a URL, or "-".
    """
    refuse_stdout(os.fspath(out), option)
    url = remote_url(out)
    if url is not None:
        name = url.rstrip("/").rpartition("/")[2] or "labels.csv"
        raise UsageError(
            f"{option} {shown(url)}: expected a path of this machine, where results are written",
            hint=f"{option} {printable(name)}, then copy it with the tool of your storage",
        )
