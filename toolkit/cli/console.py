"""What a person or cron sees: progress, lines, errors. rich is imported on a terminal alone."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Any

from toolkit.core.errors import ToolkitError
from toolkit.core.progress import Progress, SilentProgress
from toolkit.core.text import harmless

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Task


class LogFormat(StrEnum):
    """How lines on stderr look: text for people, one JSON object a line for log collectors."""

    TEXT = "text"
    JSON = "json"


class Settings:
    """What --quiet, --verbose and --log-format set for this process."""

    quiet = False
    verbose = False
    json = False


def set_quiet(value: bool) -> bool:
    """Callback of --quiet."""
    Settings.quiet = Settings.quiet or value
    return value


def set_verbose(value: bool) -> bool:
    """Callback of --verbose."""
    Settings.verbose = Settings.verbose or value
    return value


def set_log_format(value: LogFormat) -> LogFormat:
    """Callback of --log-format."""
    Settings.json = value is LogFormat.JSON
    return value


def keep_native_messages_out() -> None:
    """Leave stderr to Python alone: libjpeg, libpng and TensorFlow write to file descriptor 2 behind its back.

    What they have to say reaches the user as an error or a row; --verbose shows their own words too.
    """
    try:
        ours = os.dup(2)
    except OSError:
        return  # started without a stderr
    sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def on_terminal() -> bool:
    """Whether stderr is a terminal: progress bars and colour only there."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def terminal() -> Console:
    """A rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str, **fields: object) -> None:
    """A line on stderr: the summary of a run. Not with --quiet. `fields` are what a JSON log says beside it."""
    if not Settings.quiet:
        _log("info", text, fields)


def suggest(*words: str) -> None:
    """On a terminal, the command that people give next."""
    if on_terminal() and not Settings.quiet and not Settings.json:
        say(f"  next: {shlex.join(words)}")


def _log(level: str, text: str, fields: dict[str, object]) -> None:
    if Settings.json:
        import json
        from datetime import UTC, datetime

        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": time, "level": level, "message": text, **fields})
    print(_printable(text), file=sys.stderr)


def out(text: str, *, document: bool = False) -> None:
    """A line on stdout, or a whole `document`: the product of a command whose product is text."""
    print(_printable(text, sys.stdout.encoding, document=document))


def error(failure: ToolkitError) -> int:
    """Print what went wrong and what to do next; return the exit code, which holds where nothing can be printed."""
    with suppress(OSError):  # stderr may be a log on the disk that is full
        if Settings.verbose:
            print(_printable("".join(traceback.format_exception(failure)), document=True), file=sys.stderr)
        if Settings.json:
            _log("error", failure.message, {"hint": failure.hint, "exit_code": failure.exit_code})
            return failure.exit_code
        print(_printable(f"error: {failure.message}"), file=sys.stderr)
        if failure.hint:
            print(_printable(f"  next: {failure.hint}"), file=sys.stderr)
    return failure.exit_code


def bug(failure: BaseException) -> int:
    """One line, and where the traceback was written."""
    text = "".join(traceback.format_exception(failure))
    handle, path = tempfile.mkstemp(prefix="toolkit-traceback-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    if Settings.verbose:
        print(_printable(text, document=True), file=sys.stderr)
    summary = f"{type(failure).__name__}: {failure}".splitlines()[0]
    print(_printable(f"error: this is a bug in toolkit: {summary}"), file=sys.stderr)
    print(f"  next: report it with the traceback in {path}", file=sys.stderr)
    return 1


def progress() -> Progress:
    """The progress for this process: bars on a terminal, plain lines elsewhere, nothing with --quiet."""
    if Settings.quiet:
        return SilentProgress()
    return TerminalProgress() if on_terminal() and not Settings.json else PlainProgress()


class StopSignals:
    """While it is entered, the first SIGINT or SIGTERM only sets `event`; a second one ends the process at once.

    Attributes:
        event: set once a signal came.
        exit_code: 128 + the signal's number; 0 while none came.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code = 0

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self.event.is_set():
            if on_terminal():
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the cursor, which a bar hides
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.exit_code = 128 + number
        self.event.set()


@contextmanager
def announced_stop() -> Iterator[None]:
    """SIGINT and SIGTERM are answered at once: what runs may take seconds to end."""

    def announced(before: Any) -> Any:
        def stop(number: int, frame: FrameType | None) -> None:
            say("stopping")
            before(number, frame)

        return stop

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, before in handlers.items():
        if callable(before):
            signal.signal(number, announced(before))
    try:
        yield
    finally:
        for number, before in handlers.items():
            signal.signal(number, before)


def _printable(text: str, encoding: str | None = None, *, document: bool = False) -> str:
    """What a terminal may be given: everything that this program prints goes through here."""
    text = harmless(text, document=document)
    encoding = encoding or sys.stderr.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class PlainProgress(SilentProgress):
    """For cron and pipes: lines and warnings, no bars."""

    def line(self, text: str) -> None:
        say(text)

    def warn(self, text: str) -> None:
        if Settings.json and not Settings.quiet:
            _log("warning", text, {})
        else:
            say(f"warning: {text}")


class TerminalProgress(SilentProgress):
    """Bars on a terminal: one per stage, with rate and time left, and a line of metrics below it."""

    def __init__(self) -> None:
        self.draws = True
        self._console = terminal()
        self._live: Any = None

    def start(self, task: str, total: int | None = None, unit: str = "files") -> None:
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.finish()
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}")]
        self._bar = RichProgress(*columns, TimeRemainingColumn(), console=self._console)
        self._task, self._unit, self._note = self._bar.add_task(task, total=total, count=""), unit, ""
        self._live = Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=10)
        self._live.start()

    def expect(self, n: int) -> None:
        if self._live is not None:
            self._bar.update(self._task, total=n)

    def advance(self, n: int = 1) -> None:
        if self._live is not None:
            self._bar.advance(self._task, n)

    def status(self, text: str) -> None:
        self._note = text

    def finish(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        # Here, ten times a second, and not for every file: the speed is worked out from the last thousand steps.
        task = self._bar.tasks[0]
        speed = _speed(task)
        count = f"{task.completed:,.0f}" + (f"/{task.total:,.0f}  {task.percentage:.0f} %" if task.total else "")
        rate = f"  {speed:,.0f} {self._unit}/s" if speed else f" {self._unit}"
        self._bar.update(self._task, count=count + rate if task.completed or task.total else "")
        return Group(self._bar, Text(harmless(self._note), no_wrap=True)) if self._note else Group(self._bar)

    def line(self, text: str) -> None:
        self._console.print(harmless(text), markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(harmless(f"warning: {text}"), style="yellow", markup=False, soft_wrap=True)


def _speed(task: Task) -> float | None:
    """Steps a second: of late; at the end, of the whole; None in the first second, which says nothing."""
    seconds = task.finished_time if task.finished else task.elapsed
    if seconds is None or seconds < 1:
        return None
    return task.completed / seconds if task.finished else task.speed
