"""The page of `toolkit review`, served to one browser on this machine.

Only the loopback address is listened to. The address holds a secret token; a request needs it, a `Host` of this
server, and, where it changes something, an `Origin` of this server. Images are named by their place in the table, so
that no path can be asked for.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from toolkit.core.errors import InputError, MachineError
from toolkit.core.machine import usable_cpus
from toolkit.core.parse import parse_json
from toolkit.core.text import printable
from toolkit.data.thumbnail import thumbnail
from toolkit.images.thumbnail import THUMBNAIL_PIXELS
from toolkit.inference.result_table import UNSURE
from toolkit.inference.saved_results import SavedResults, SavedRow
from toolkit.reviewing.candidates import Candidates
from toolkit.reviewing.corrections import Corrections
from toolkit.reviewing.page import Shown, known_labels, render
from toolkit.reviewing.selection import Selection

LARGE_PIXELS: Final = 1280
"""Longer side of the image that is looked at by itself."""

MAX_BODY_BYTES: Final = 4096
MAX_LABEL_CHARACTERS: Final = 200
LOOPBACK: Final = "127.0.0.1"


@dataclass(kw_only=True)
class Review:
    """What is reviewed.

    Attributes:
        results: the table, and where its images are.
        selection: its rows, in the order of looking.
        corrections: where decisions go.
        classes: that can be chosen, beside those that the table names.
        candidates: asks the model about unsure images of which the table has no probabilities.
        n_decided: decisions taken since the start, those taken back and those changed included.
    """

    results: SavedResults
    selection: Selection
    corrections: Corrections
    classes: Sequence[str] = ()
    candidates: Candidates | None = None
    n_decided: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def page(self) -> bytes:
        """The page, with the decisions so far."""
        rows = self.selection.rows
        with self._lock:
            self.corrections.refresh()
        decided = {i: self.corrections.label(row.path) for i, row in enumerate(rows)}
        decisions = {i: label for i, label in decided.items() if label is not None}
        labels = sorted({*known_labels(self.results, self.selection), *self.classes, *decisions.values()} - {""})
        title = printable(self.results.path.name)
        shown = Shown(title=title, selection=self.selection, labels=labels, decisions=decisions, server=True)
        return render(shown).encode()

    def decide(self, image: int, label: str) -> None:
        """Write a decision about the image at this place."""
        row = self.selection.rows[image]
        with self._lock:
            self.corrections.decide(row.path, label, row.label)
            self.n_decided += 1

    def take_back(self, image: int) -> None:
        """Forget the decision about the image at this place."""
        with self._lock:
            self.corrections.take_back(self.selection.rows[image].path)

    def image(self, place: str, longest: int) -> bytes | None:
        """The image at this place as WebP; None where there is none."""
        row = self._row(place)
        found = thumbnail(self.results.file(row), longest) if row else None
        return found.data if found else None

    def candidate(self, place: str) -> str:
        """What the image at this place is most likely; "" where that is not known."""
        row = self._row(place)
        if row is None or self.candidates is None or row.status != UNSURE:
            return ""
        return row.candidate or self.candidates.label(self.results.file(row), row)

    def _row(self, place: str) -> SavedRow | None:
        if not place.isascii() or not place.isdigit() or len(place) > 9 or int(place) >= len(self.selection.rows):
            return None
        return self.selection.rows[int(place)]


class ReviewServer(ThreadingHTTPServer):
    """Serves one review until `finished` is set.

    Args:
        review: what is served.
        port: 0 takes a free one.

    Attributes:
        address: what a browser is to open.
        finished: set once the page says so.

    Raises:
        MachineError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, review: Review, port: int = 0) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        self.finished = threading.Event()
        self.decoding = threading.Semaphore(usable_cpus())
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise MachineError(
                f"--port {port}: cannot be listened on ({error})", hint="leave --port out: a free one is taken"
            ) from None
        self.hosts = tuple(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))
        self.address = f"http://{self.hosts[0]}/{self.token}/"

    def run(self, stop: threading.Event | None = None) -> None:
        """Serve until the page says that it is finished, or `stop` is set."""
        stop = stop or threading.Event()
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            while not stop.is_set() and not self.finished.wait(0.2):
                pass
        finally:
            self.shutdown()
            self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser may close a connection in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "toolkit"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        place = self._place()
        if place is None:
            return
        kind, _, number = place.partition("/")
        if place == "":
            try:
                page = self.server.review.page()
            except InputError as error:
                self._refuse(HTTPStatus.CONFLICT, error.message)
            else:
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page)
        elif kind in ("thumbnail", "image") and number:
            with self.server.decoding:
                data = self.server.review.image(number, THUMBNAIL_PIXELS if kind == "thumbnail" else LARGE_PIXELS)
            if data is None:
                self._refuse(HTTPStatus.NOT_FOUND, "no such image")
            else:
                self._answer(HTTPStatus.OK, "image/webp", data, cache=True)
        elif kind == "candidate" and number:
            with self.server.decoding:
                label = self.server.review.candidate(number)
            self._answer(HTTPStatus.OK, "application/json", json.dumps({"label": label}).encode())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "not found")

    def do_POST(self) -> None:
        place = self._place()
        if place is None:
            return
        if self.headers.get("Origin") not in {f"http://{host}" for host in self.server.hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "from another origin")
            return
        content = self._content()
        if content is None:
            self._refuse(HTTPStatus.BAD_REQUEST, "not what this page sends")
            return
        try:
            if place == "finish":
                self.server.finished.set()
            elif place == "decide":
                self.server.review.decide(self._image(content), _label(content))
            elif place == "take-back":
                self.server.review.take_back(self._image(content))
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "not found")
                return
        except (KeyError, ValueError, IndexError):
            self._refuse(HTTPStatus.BAD_REQUEST, "no such image or label")
        except InputError as error:
            self._refuse(HTTPStatus.CONFLICT, error.message)
        except OSError as error:
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"{self.server.review.corrections.path}: {error.strerror}")
        else:
            self._answer(HTTPStatus.OK, "application/json", b"{}")

    def _place(self) -> str | None:
        """What is asked for, below the token; None where the request was refused."""
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this address is not served here")
            return None
        try:
            token, slash, place = urlsplit(self.path).path.removeprefix("/").partition("/")
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "no address")
            return None
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the address lacks its token; open the one that toolkit review printed")
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self._refuse(HTTPStatus.FORBIDDEN, "from another origin")
            return None
        return place

    def _content(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > MAX_BODY_BYTES:
            return None
        try:
            content = parse_json(self.rfile.read(int(length)))
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def _image(self, content: dict[str, Any]) -> int:
        image = content["image"]
        if type(image) is not int or not 0 <= image < len(self.server.review.selection.rows):
            raise ValueError("no such image")
        return image

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._answer(status, "text/plain; charset=utf-8", text.encode())

    def _answer(self, status: HTTPStatus, kind: str, content: bytes, *, cache: bool = False) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "private, max-age=3600" if cache else "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the address holds the token."""


def _label(content: dict[str, Any]) -> str:
    label = content["label"]
    if not isinstance(label, str) or len(label) > MAX_LABEL_CHARACTERS or not (label.isprintable()):
        raise ValueError("no label")
    return label.strip()


def open_review(
    results: SavedResults,
    selection: Selection,
    out: Path,
    classes: Sequence[str] = (),
    candidates: Candidates | None = None,
) -> Review:
    """A review of these rows whose decisions go to `out`; `classes` can be chosen, and those that the table names.

    Raises:
        InputError: `out` holds something else.
    """
    return Review(
        results=results,
        selection=selection,
        corrections=Corrections(out),
        classes=classes,
        candidates=candidates,
    )
