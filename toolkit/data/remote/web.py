"""Files of web servers, read with urllib3; nothing is tried twice here."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from toolkit.core.errors import missing_extra
from toolkit.data.remote.stores import CONNECT_S, PIECE_BYTES, Body, Entry, FetchError, of_status

REDIRECTS: Final = 5
CONNECTIONS: Final = 128

_opening = threading.Lock()


def check() -> None:
    """Look whether URLs can be read at all.

    Raises:
        MachineError: the extra is not installed.
    """
    with _opening:
        _library()


def forget() -> None:
    """End all connections."""
    while _pools:
        _pools.popitem()[1].clear()


def get(url: str, limit_s: float) -> Body:
    """Begin to read a file.

    Raises:
        FetchError: it cannot be read.
    """
    answer = _request("GET", url, limit_s)
    size = answer.headers.get("Content-Length", "")
    return Body(int(size) if size.isdigit() else None, _etag(answer), _pieces(answer))


def head(url: str, limit_s: float) -> Entry:
    """Size and ETag of a file.

    Raises:
        FetchError: the server does not say.
    """
    answer = _request("HEAD", url, limit_s)
    answer.release_conn()
    size = answer.headers.get("Content-Length", "")
    if not size.isdigit():
        raise FetchError("the server does not say how large it is", again=False)
    return Entry(url, int(size), _etag(answer))


def _etag(answer: Any) -> str:
    return str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


def _request(method: str, url: str, limit_s: float) -> Any:
    with _opening:
        urllib3 = _library()
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchError("this is no URL", again=False) from None
    headers = {"Accept-Encoding": "identity"}
    if "@" in parts.netloc:
        user, host = parts.netloc.rpartition("@")[::2]
        headers |= urllib3.make_headers(basic_auth=unquote(user))
        url = parts._replace(netloc=host).geturl()
    with _errors(urllib3):
        answer = _pool(_proxy(parts.scheme, parts.hostname or "")).request(
            method,
            url.partition("#")[0],
            headers=headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=limit_s),
            retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=REDIRECTS),
        )
    if answer.status != 200:
        answer.drain_conn()
        answer.release_conn()
        raise of_status(answer.status)
    return answer


def _pieces(answer: Any) -> Generator[bytes, None, None]:
    done = False
    try:
        with _errors(_library()):
            while piece := answer.read1(PIECE_BYTES, decode_content=False):
                yield piece
        done = True
    finally:
        if not done:
            answer.close()
        answer.release_conn()


@contextmanager
def _errors(urllib3: Any) -> Iterator[None]:
    try:
        yield
    except urllib3.exceptions.TimeoutError:
        raise FetchError("it took too long", again=True) from None
    except urllib3.exceptions.LocationValueError:
        raise FetchError("this is no URL", again=False) from None
    except urllib3.exceptions.MaxRetryError as error:
        if isinstance(error.reason, urllib3.exceptions.ResponseError):
            raise FetchError("the server redirects again and again", again=False) from None
        slow = isinstance(error.reason, urllib3.exceptions.TimeoutError)
        secure = isinstance(error.reason, urllib3.exceptions.SSLError)
        reason = "it took too long" if slow else "no secure connection" if secure else "the connection broke"
        raise FetchError(reason, again=not secure) from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise FetchError("the connection broke", again=True) from None
    except ValueError:
        raise FetchError("this is no URL", again=False) from None


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import urllib3
    except ImportError:
        raise missing_extra("urllib3", "http", "http://") from None
    return urllib3


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names."""
    proxies = getproxies_environment()
    return None if not proxies or proxy_bypass(host) else proxies.get(scheme)


_pools: dict[str | None, Any] = {}


def _pool(proxy: str | None) -> Any:
    urllib3 = _library()
    with _opening:
        if proxy not in _pools:
            setting = {"num_pools": 32, "maxsize": CONNECTIONS, "headers": {"User-Agent": "toolkit-images"}}
            _pools[proxy] = urllib3.ProxyManager(proxy, **setting) if proxy else urllib3.PoolManager(**setting)
        return _pools[proxy]
