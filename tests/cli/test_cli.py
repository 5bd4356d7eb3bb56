"""The frame of the command line: every kind of failure ends with its exit code and words for a person."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command_line import ROOT, environment

from toolkit import cli
from toolkit.cli import console
from toolkit.core import errors


@contextmanager
def command_that(raises: BaseException) -> Iterator[None]:
    """A command `fail` that raises."""

    def fail() -> None:
        raise raises

    cli.app.command()(fail)
    try:
        yield
    finally:
        cli.app.registered_commands.pop()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run `main` in this process: arguments from here, stderr left alone."""
    monkeypatch.setattr(console, "keep_native_messages_out", lambda: None)
    monkeypatch.setattr(sys, "argv", ["toolkit", "fail"])
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


KINDS = [
    (errors.UsageError, 2),
    (errors.InputError, 3),
    (errors.ModelError, 4),
    (errors.MismatchError, 5),
    (errors.GateError, 6),
    (errors.LockedError, 7),
    (errors.MachineError, 8),
]


@pytest.mark.parametrize(("kind", "code"), KINDS)
@pytest.mark.usefixtures("run")
def test_each_kind_has_its_exit_code(
    kind: type[errors.ToolkitError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with command_that(kind("photos: expected a folder, found nothing", hint="check the path")):
        assert cli.main() == code
    assert capsys.readouterr().err == "error: photos: expected a folder, found nothing\n  next: check the path\n"


def test_no_kind_is_forgotten() -> None:
    assert {kind for kind, _ in KINDS} == set(errors.ToolkitError.__subclasses__())


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, 8), (errno.EACCES, 8), (errno.EROFS, 8), (errno.EIO, 8), (errno.ENOTDIR, 3), (errno.EISDIR, 3)],
)
@pytest.mark.usefixtures("run")
def test_what_the_operating_system_refuses(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with command_that(OSError(number, os.strerror(number), "labels.csv")):
        assert cli.main() == code
    assert f"labels.csv: {os.strerror(number)}" in capsys.readouterr().err


@pytest.mark.usefixtures("run")
def test_a_bug_is_one_line_and_a_file_with_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with command_that(ZeroDivisionError("a planted bug")):
        assert cli.main() == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "ZeroDivisionError: a planted bug" in said
    written = re.search(r"traceback in (.+)", said)
    assert written is not None
    trace = Path(written[1])
    assert "Traceback" in trace.read_text()
    trace.unlink()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_code(number: signal.Signals, code: int, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = (
        "import sys, time, pathlib\n"
        "from toolkit import cli\n"
        "def wait() -> None:\n"
        f"    pathlib.Path({str(ready)!r}).touch(); time.sleep(60)\n"
        "cli.app.command()(wait)\n"
        "sys.argv = ['toolkit', 'wait']\n"
        "sys.exit(cli.main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in said


def test_a_second_signal_ends_at_once_and_leaves_the_cursor_visible() -> None:
    script = (
        "import signal\n"
        "from toolkit.cli import console\n"
        "with console.StopSignals():\n"
        "    console.progress().start('labelling')\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
    )
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        done = subprocess.run([sys.executable, "-c", script], stderr=theirs, env=environment(TERM="xterm"), check=False)
        shown = terminal.read(1 << 16)
        os.close(theirs)
    assert done.returncode == -signal.SIGINT
    assert 0 <= shown.find(b"\x1b[?25l") < shown.rfind(b"\x1b[?25h")


def test_names_that_are_not_utf8_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(errors.InputError("caf\udce9.jpg: empty"))
    assert "caf\\udce9.jpg: empty" in capsys.readouterr().err


def test_codecs_do_not_write_to_the_terminal(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from toolkit.cli import console\n"
        "console.keep_native_messages_out()\n"
        "os.write(2, b'libpng warning: iCCP: known incorrect sRGB profile')\n"
        "print('ours', file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment())
    assert done.stderr == "ours\n"


def test_a_terminal_shows_a_bar_with_a_line_of_figures_below(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    text = io.StringIO()
    monkeypatch.setattr(console, "terminal", lambda: Console(file=text, force_terminal=True, width=100))
    progress = console.TerminalProgress()
    progress.start("training", 2000, "images")
    progress.advance(400)
    progress.status("epoch 1/2  step 4/10")
    progress.line("epoch 0 is over")
    progress.start("loading", unit="")
    progress.finish()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert re.search(r"training .*400/2,000 .*images", shown)
    assert re.search(r"(?m)^epoch 1/2  step 4/10", shown)
    assert "epoch 0 is over\n" in shown
    assert re.search(r"loading [^\d\n]*\n", shown), "no count where nothing is counted"


def test_rates_of_a_bar() -> None:
    """None in the first second; then those of late; at the end the mean over the whole."""
    from rich.progress import Progress

    now = 0.0
    bar = Progress(get_time=lambda: now)
    task = bar.add_task("labelling", total=60)
    shown = []
    for seconds, done in ((0.001, 1), (0.5, 20), (2.0, 21), (3.0, 31), (4.0, 60)):
        now = seconds
        bar.update(task, completed=done)
        shown.append(console._speed(bar.tasks[0]))
    assert shown[:2] == [None, None]
    assert shown[2] is not None
    assert shown[2] < 21
    assert shown[-1] == 15


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_caller_may_have_closed_the_standard_streams(closed: str) -> None:
    shell = ["sh", "-c", f'"$0" -m toolkit recipe list {closed}', sys.executable]
    done = subprocess.run(shell, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed == "2>&-")


def test_a_stopped_training_says_how_to_go_on() -> None:
    code = (
        "import signal, sys, toolkit.training.train\n"
        "def stopped(*_): signal.raise_signal(signal.SIGINT)\n"
        "toolkit.training.train.train = stopped\n"
        "from toolkit.__main__ import run\n"
        "sys.argv = ['toolkit', 'train', 'photos', '--recipe', 'fashion', '--out', 'night']\n"
        "run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(PYTHONPATH=str(ROOT)), capture_output=True, check=False
    )
    assert done.returncode == 130
    assert b"stopping\n" in done.stderr
    assert b"night: stopped; the same command with --resume continues" in done.stderr
