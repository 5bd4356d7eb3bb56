"""Buckets of S3, Google Cloud Storage and Azure: their listing, and one object at a time.

Objects are read with obstore, which costs a processor a tenth of what SDKs written in Python cost, and nothing is tried
twice here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from toolkit.core.errors import InputError, missing_extra
from toolkit.core.text import printable

Page = TypeVar("Page")

CONNECT_S: Final = 10.0
EXTRAS: Final = {"s3": "s3", "gs": "gcs", "az": "azure"}
PIECE_BYTES: Final = 1 << 20
PAGE: Final = 1000
"""Names that storage tells at a time."""

WHOLE_BYTES: Final = 4 << 20
"""Up to this size an object is handed over as one piece."""


class FetchError(Exception):
    """One attempt failed.

    Args:
        reason: in words of ours: what libraries say may hold signatures.
        again: whether another attempt may succeed.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


class NotThereError(FetchError):
    """There is no such object."""

    def __init__(self) -> None:
        super().__init__("there is no such object", again=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: key, bytes, ETag."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Body:
    """An object that is being read.

    Attributes:
        size: bytes; None where the server does not say.
        etag: "" where there is none.
        content: its bytes, or pieces of them, which are to be closed if they are not taken to their end.
    """

    size: int | None
    etag: str
    content: bytes | Generator[bytes, None, None]


class Store(Protocol):
    """What is asked of a bucket. All methods but `listed` and `folders` raise FetchError."""

    def listed(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key begins with `prefix`, in the order of the keys' bytes."""

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders right below `prefix`."""

    def head(self, key: str) -> Entry:
        """Size and ETag of an object."""

    def get(self, key: str, limit_s: float) -> Body:
        """Begin to read an object; the whole of it may take `limit_s` seconds."""

    def close(self) -> None:
        """End its connections."""


def of_status(status: int) -> FetchError:
    """The error that an HTTP status stands for."""
    if status in (404, 410):
        return NotThereError()
    if status in (401, 403):
        return FetchError(f"access denied (HTTP {status}): check the credentials in the environment", again=False)
    return FetchError(f"the server answers HTTP {status}", again=status in (408, 425, 429) or status >= 500)


_ODD: Final = "a name with an empty part, '.' or '..' between slashes, or control characters"

_STATUS: Final = re.compile(r"status code: (\d{3})")
_INVALID: Final = re.compile(r'invalid path: Path "(.*?)" contained ', re.S)


class OddNameError(FetchError):
    """A listing holds a name that obstore refuses, and with it the names beside it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"it holds {f'{key}, ' if key else ''}{_ODD}", again=False)


def _ours(error: Exception) -> Exception:
    """What an error of obstore stands for."""
    from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, UnauthenticatedError

    if isinstance(error, FetchError) or not isinstance(error, (BaseError, OSError, ValueError)):
        return error
    if isinstance(error, FileNotFoundError):
        return of_status(404)
    if isinstance(error, InvalidPathError):
        found = _INVALID.search(str(error))
        return OddNameError(printable(found[1]) if found else "")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return of_status(403)
    text = str(error)
    if status := _STATUS.search(text):
        return of_status(int(status[1]))
    slow = "Timeout" in text or "TimedOut" in text
    return FetchError("it took too long" if slow else "the connection broke", again=True)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _ours(error) from None


class Bucket:
    """A bucket as obstore sees it."""

    def __init__(self, name: str, store: Any) -> None:
        self._name = name
        self._store = store

    def listed(self, prefix: str) -> Iterator[Entry]:
        import obstore

        held: Entry | None = None
        with self._listing(prefix), _errors():
            for page in one_ahead(obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=PAGE)):
                for item in page:
                    entry = Entry(item["path"], item["size"], item["e_tag"] or "")
                    if held is not None and (held.size or not entry.key.startswith(f"{held.key}/")):
                        yield held  # else it is the empty marker of a folder, which obstore lists without its slash
                    held = entry if entry.key.startswith(prefix) else None
            if held is not None:
                yield held

    def folders(self, prefix: str) -> list[str]:
        import obstore

        with self._listing(prefix), _errors():
            found = obstore.list_with_delimiter(self._store, prefix.rstrip("/") or None)["common_prefixes"]
            return [path.rstrip("/").rpartition("/")[2] for path in found]

    def head(self, key: str) -> Entry:
        import obstore

        _require_plain(key)
        with _errors():
            found = obstore.head(self._store, key)
        return Entry(key, found["size"], found["e_tag"] or "")

    def get(self, key: str, limit_s: float) -> Body:  # noqa: ARG002 - the client has the limit
        _require_plain(key)
        try:  # no context manager: this is done for every image
            result = self._store.get(key)
            meta = result.meta
            size, etag = meta["size"], meta["e_tag"] or ""
            if size <= WHOLE_BYTES:
                return Body(size, etag, bytes(result.bytes()))
        except Exception as error:
            raise _ours(error) from None
        return Body(size, etag, self._pieces(result))

    def close(self) -> None:
        self._store = None

    def _pieces(self, result: Any) -> Generator[bytes, None, None]:
        with _errors():
            for piece in result.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    @contextmanager
    def _listing(self, prefix: str) -> Iterator[None]:
        try:
            yield
        except FetchError as error:
            hint = ODD_HINT if isinstance(error, OddNameError) else CANNOT_LIST_HINT
            raise cannot_list(f"{self._name}/{prefix}", error.reason, hint) from None


def is_plain(key: str) -> bool:
    """Whether obstore can name this key: no empty segment, no dots alone, no control characters.

    >>> is_plain("Cat/1.jpg"), is_plain("Cat//1.jpg"), is_plain("../1.jpg")
    (True, False, False)
    """
    return key.isprintable() and not any(part in ("", ".", "..") for part in key.split("/"))


def _require_plain(key: str) -> None:
    if not is_plain(key):
        raise FetchError(f"it has {_ODD}", again=False)


def one_ahead(pages: Iterable[Page]) -> Iterator[Page]:
    """`pages` of a listing, each asked for while the one before is being worked on."""
    coming = iter(pages)
    asked = _asked(coming)
    while (page := asked.result()) is not None:
        asked = _asked(coming)
        yield page


def _asked(pages: Iterator[Page]) -> Future[Page | None]:
    """The next of `pages`, in a thread that keeps nobody from leaving."""
    future: Future[Page | None] = Future()

    def ask() -> None:
        try:
            future.set_result(next(pages, None))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=ask, name="listing", daemon=True).start()
    return future


CANNOT_LIST_HINT: Final = "check the name, and the credentials in the environment (docs/object-storage.md)"
ODD_HINT: Final = "rename it, or give a list of URLs on stdin (docs/object-storage.md)"


def cannot_list(name: str, reason: str, hint: str = CANNOT_LIST_HINT) -> InputError:
    """The error of a listing."""
    return InputError(f"{printable(name)}: cannot be listed: {reason}", hint=hint)


_opened: dict[tuple[str, str, float], Store] = {}
_opening = threading.Lock()


def open_bucket(scheme: str, bucket: str, limit_s: float) -> Store:
    """A bucket, opened once for all threads of the process.

    Raises:
        MachineError: the extra is not installed.
        InputError: the environment does not say what is needed.
    """
    with _opening:
        store = _opened.get((scheme, bucket, limit_s))
        if store is None:
            store = _opened[scheme, bucket, limit_s] = _open(scheme, bucket, limit_s)
        return store


def forget() -> None:
    """Close all buckets, so that the environment is looked at again."""
    with _opening:
        for store in _opened.values():
            store.close()
        _opened.clear()


def _open(scheme: str, bucket: str, limit_s: float) -> Store:
    name = f"{scheme}://{bucket}"
    options: dict[str, Any] = {"timeout": f"{limit_s}s", "connect_timeout": f"{CONNECT_S}s"}
    alone: dict[str, Any] = {"max_retries": 0}
    try:
        from obstore import store

        if scheme == "s3":
            import boto3  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name or "obstore", EXTRAS[scheme], f"{scheme}://") from None
    if scheme == "s3":
        from toolkit.data.remote.s3 import open_s3

        return open_s3(name, bucket, options, alone)
    kind = store.GCSStore if scheme == "gs" else store.AzureStore
    options["allow_http"] = True  # an endpoint of one's own
    try:
        return Bucket(name, kind(bucket, client_options=options, retry_config=alone))
    except Exception:
        needed = "GOOGLE_APPLICATION_CREDENTIALS" if scheme == "gs" else "AZURE_STORAGE_ACCOUNT_NAME and a key"
        raise InputError(
            f"{name}: cannot be opened with what the environment says", hint=f"set {needed}; see docs/object-storage.md"
        ) from None
