"""A small server of objects: listings, GET and HEAD as S3, Google and Azure have them, with latency and faults.

It answers as much as readers need, and checks no signatures. It runs in a thread of a test, or as a process:
`python tests/support/object_server.py FOLDER [--latency SECONDS]` prints its address and serves until stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "photos"

XML = '<?xml version="1.0" encoding="UTF-8"?>'
MODIFIED = "2026-01-02T03:04:05.000Z"
MODIFIED_HTTP = "Fri, 02 Jan 2026 03:04:05 GMT"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one answer.

    Attributes:
        status: this status instead of the object; 0 leaves it.
        reset: the connection ends without a word.
        cut: the body ends after so many bytes, and the connection with it.
        hang: no answer at all.
        byte_s: seconds between two bytes of the body.
    """

    status: int = 0
    reset: bool = False
    cut: int | None = None
    hang: bool = False
    byte_s: float = 0.0


Faults = Callable[[str, str, int], Fault | None]
"""(method, key, how many times it was asked for before) -> what goes wrong this time."""


class ObjectServer:
    """The objects of one bucket.

    Args:
        objects: key -> bytes; may be changed while it serves.
        latency_s: every answer comes so much later.
        faults: what goes wrong; None: nothing does.
        page: keys in one answer of a listing.
    """

    def __init__(
        self, objects: Mapping[str, bytes], *, latency_s: float = 0.0, faults: Faults | None = None, page: int = 1000
    ) -> None:
        self.objects = dict(objects)
        self.latency_s = latency_s
        self.faults = faults
        self.page = page
        self.asked: Counter[tuple[str, str]] = Counter()
        self.headers: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self.transports: set[asyncio.Transport] = set()
        self._etags: dict[bytes, str] = {}
        self.address = ""

    async def start(self) -> asyncio.Server:
        """Listen on a free port of the loopback address."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    @contextmanager
    def serving(self) -> Iterator[ObjectServer]:
        """Serve in a thread."""
        ready, loop = threading.Event(), asyncio.new_event_loop()

        async def serve() -> None:
            stopped.append(asyncio.Event())
            server = await self.start()
            ready.set()
            await stopped[0].wait()
            server.close()
            for transport in self.transports:
                transport.abort()
            await asyncio.sleep(0)

        stopped: list[asyncio.Event] = []
        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stopped[0].set)
            thread.join()
            loop.close()

    def etag(self, data: bytes) -> str:
        """As S3 makes it."""
        if data not in self._etags:
            self._etags[data] = f'"{hashlib.md5(data).hexdigest()}"'
        return self._etags[data]

    def begun(self) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)

    def ended(self) -> None:
        self._at_once -= 1

    def listing(self, query: Mapping[str, list[str]]) -> bytes:
        """An answer of S3's ListObjectsV2, which Google's XML interface has too, or of Azure's List Blobs."""
        azure = "restype" in query
        after = query.get("marker" if azure else "continuation-token", query.get("start-after", [""]))[0]
        most = int(query.get("maxresults" if azure else "max-keys", ["1000"])[0])
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys, folders, last = self._page(prefix, delimiter, after, min(self.page, most))
        encoding = query.get("encoding-type", [""])[0]

        def text(name: str) -> str:
            return escape(quote(name, safe="/") if encoding == "url" else name)

        entries = [(text(key), escape(self.etag(self.objects[key])), len(self.objects[key])) for key in keys]
        if azure:
            blobs = "".join(
                f"<Blob><Name>{key}</Name><Properties><Last-Modified>{MODIFIED_HTTP}</Last-Modified>"
                f"<Content-Length>{size}</Content-Length><Etag>{etag}</Etag><Content-Type>image/x</Content-Type></Properties></Blob>"
                for key, etag, size in entries
            )
            prefixes = "".join(f"<BlobPrefix><Name>{text(one)}</Name></BlobPrefix>" for one in folders)
            inside = f"<Blobs>{blobs}{prefixes}</Blobs><NextMarker>{text(last)}</NextMarker>"
            return f"{XML}<EnumerationResults>{inside}</EnumerationResults>".encode()
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>{MODIFIED}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key, etag, size in entries
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{text(one)}</Prefix></CommonPrefixes>" for one in folders)
        token = f"<NextContinuationToken>{text(last)}</NextContinuationToken>" if last else ""
        n = len(keys) + len(folders)
        how = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
        return (
            f'{XML}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{BUCKET}</Name>'
            f"<Prefix>{text(prefix)}</Prefix>{how}<KeyCount>{n}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(bool(last)).lower()}</IsTruncated>{token}{contents}{prefixes}</ListBucketResult>"
        ).encode()

    def _page(self, prefix: str, delimiter: str, after: str, most: int) -> tuple[list[str], list[str], str]:
        """Keys, folders, and the key that the next page begins behind; "" where there is none."""
        ordered = sorted(self.objects, key=str.encode)
        start = bisect_right(ordered, after.encode(), key=str.encode) if after else 0
        keys: list[str] = []
        folders: list[str] = []
        last = ""
        for key in ordered[max(start, bisect_left(ordered, prefix.encode(), key=str.encode)) :]:
            if not key.startswith(prefix):
                break
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            folder = f"{prefix}{head}{delimiter}" if found else ""
            if not folder or (folder not in folders and not after.startswith(folder)):
                if len(keys) + len(folders) == most:
                    return keys, folders, last
                (folders if folder else keys).append(folder or key)
            last = key
        return keys, folders, ""


class _Connection(asyncio.Protocol):
    def __init__(self, server: ObjectServer) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.transports.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._server.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            self._server.begun()
            asyncio.get_running_loop().call_later(self._server.latency_s, self._answer, head.decode("latin-1"))

    def _answer(self, head: str) -> None:
        server = self._server
        server.ended()
        if self._transport.is_closing():
            return
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        server.headers.append(head)
        del server.headers[:-100]
        url = urlsplit(target)
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        name = key or bucket
        fault = server.faults(method, name, server.asked[method, name]) if server.faults else None
        server.asked[method, name] += 1
        fault = fault or Fault()
        if fault.hang:
            return
        if fault.reset:
            self._transport.abort()
            return
        if fault.status:
            self._send(method, fault.status, b"<Error><Code>Injected</Code></Error>", "application/xml", "", fault)
        elif not key:
            query = parse_qs(url.query, keep_blank_values=True)
            self._send(method, 200, server.listing(query), "application/xml", "", fault)
        elif key in server.objects:
            data = server.objects[key]
            self._send(method, 200, data, "application/octet-stream", server.etag(data), fault)
        else:
            self._send(method, 404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml", "", fault)

    def _send(self, method: str, status: int, body: bytes, kind: str, etag: str, fault: Fault) -> None:
        lines = [
            f"HTTP/1.1 {status} X",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            f"Last-Modified: {MODIFIED_HTTP}",
            "x-ms-version: 2023-11-03",
            *([f"ETag: {etag}"] if etag else []),
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        if method == "HEAD":
            self._transport.write(head)
        elif fault.byte_s:
            self._transport.write(head)
            self._trickle(body, 0, fault.byte_s)
        elif fault.cut is not None:
            self._transport.write(head + body[: fault.cut])
            self._transport.close()
        else:
            self._transport.write(head + body)

    def _trickle(self, body: bytes, at: int, byte_s: float) -> None:
        if at < len(body) and not self._transport.is_closing():
            self._transport.write(body[at : at + 1])
            asyncio.get_running_loop().call_later(byte_s, self._trickle, body, at + 1, byte_s)


def objects_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder: place -> bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _serve(server: ObjectServer) -> None:
    listening = await server.start()
    print(server.address, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    listening.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the files of a folder as objects.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    arguments = parser.parse_args()
    asyncio.run(_serve(ObjectServer(objects_of(arguments.folder), latency_s=arguments.latency)))


if __name__ == "__main__":
    main()
