"""The command line: parse, call the library once, print.

Each module of the packages beside this one holds one command. They import the library within the command, so that
`toolkit --help` loads none of it.
"""

from __future__ import annotations

import copy
import errno
import signal
import sys
from inspect import getdoc
from types import FrameType
from typing import Annotated

import typer

from toolkit.cli import console, help
from toolkit.cli.label import bench, embed, evaluate, infer, merge, review, sort, view
from toolkit.cli.machine import cache, demo, doctor
from toolkit.cli.models import adopt, export, inspect, recipe, train
from toolkit.cli.prepare import check, split
from toolkit.core.errors import InputError, MachineError, ToolkitError
from toolkit.images.native_messages import unheard

app = typer.Typer(
    name="toolkit",
    cls=help.Group,
    help="Clean, split, train, export and label folders of images.",
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_received: list[int] = []


def _version(value: bool) -> None:
    if value:
        from toolkit import __version__

        typer.echo(f"toolkit {__version__}")
        raise typer.Exit


START = """\
Folders of images in, labels out. Three lines to start with:

  toolkit infer photos/ --model imagenet     say what is on photos, by the 1,000 classes of ImageNet
  toolkit train my-photos                    train on photos that lie in a folder for each class
  toolkit demo                               see every step work, on images that come with toolkit

toolkit --help lists all commands, toolkit COMMAND --help explains one."""
"""What `toolkit` alone prints."""


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Clean, split, train, export and label folders of images."""
    if context.invoked_subcommand is None:
        console.out(START, document=True)


def _terminate(signum: int, _frame: FrameType | None) -> None:
    _received.append(signum)
    raise KeyboardInterrupt


def _for(words: list[str]) -> typer.Typer:
    """`app`, with no command but the one that is called: Typer works out the options of each that it holds (60 ms).

    Where all commands are only to be listed, they are there without their options.
    """
    called = [command for command in app.registered_commands if [_name(command)] == words[:1]]
    if not called and words not in (["--help"], ["-h"]):
        return app
    only = copy.copy(app)
    if called:
        only.registered_commands, only.registered_groups = called, []
    else:
        only.registered_commands = [_listed(command) for command in app.registered_commands]
    return only


def _listed(command: typer.models.CommandInfo) -> typer.models.CommandInfo:
    """The name of `command` and what it is for."""

    def nothing() -> None: ...

    listed = copy.copy(command)
    listed.name, listed.help = _name(command), command.help or getdoc(command.callback)
    listed.callback = nothing
    return listed


def _name(command: typer.models.CommandInfo) -> str | None:
    return command.name or getattr(command.callback, "__name__", None)


def main() -> int:
    """Run the command line and return its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    if "--verbose" in sys.argv:
        unheard.hear()
    else:
        console.keep_native_messages_out()
    try:
        _for(sys.argv[1:])()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        return 128 + _received[0] if code == 130 and _received else code
    except KeyboardInterrupt:
        return 128 + (_received[0] if _received else signal.SIGINT)
    except ToolkitError as error:
        return console.error(error)
    except MemoryError:
        return console.error(MachineError("not enough memory", hint="smaller batches or fewer workers need less"))
    except OSError as error:
        return _os_error(error)
    except Exception as bug:
        return console.bug(bug)
    return 0


def _os_error(error: OSError) -> int:
    """An error of the operating system that no command has put into words."""
    if error.errno == errno.EPIPE:
        sys.stderr.close()
        return 1
    if error.errno is None:
        return console.bug(error)
    place = f"{error.filename}: " if error.filename else ""
    kind = InputError if error.errno in _WRONG_PATH else MachineError
    return console.error(kind(f"{place}{error.strerror}", hint=_HINTS.get(error.errno, "check this path and its disk")))


_WRONG_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_HINTS = {
    errno.ENOSPC: "make room on that disk, then run the same command again",
    errno.EFBIG: "allow larger files there (ulimit -f), then run the same command again",
    errno.EDQUOT: "make room in that quota, then run the same command again",
    errno.EACCES: "check who may write there, or choose another place with --out",
    errno.EPERM: "check who may write there, or choose another place with --out",
    errno.EROFS: "choose another place with --out",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}

DATA, MODELS, LABELS, MACHINE = "Images", "Models", "Labels", "This machine"

# Commands register here, in the order in which a user meets them.
app.command(rich_help_panel=DATA)(split.split)
app.command(rich_help_panel=DATA)(check.check)
app.add_typer(recipe.app, name="recipe", rich_help_panel=MODELS)
app.command(rich_help_panel=MODELS)(train.train)
app.command(rich_help_panel=MODELS)(export.export)
app.command(rich_help_panel=MODELS)(adopt.adopt)
app.command(rich_help_panel=LABELS)(infer.infer)
app.command(rich_help_panel=LABELS)(merge.merge)
app.command(rich_help_panel=LABELS)(view.view)
app.command(rich_help_panel=LABELS)(review.review)
app.command(rich_help_panel=LABELS)(sort.sort)
app.command(rich_help_panel=LABELS)(evaluate.evaluate)
app.command(rich_help_panel=LABELS)(embed.embed)
app.command(rich_help_panel=MODELS)(inspect.inspect)
app.command(rich_help_panel=MODELS)(bench.bench)
app.command(rich_help_panel=MACHINE)(doctor.doctor)
app.command(rich_help_panel=MACHINE)(cache.cache)
app.command(rich_help_panel=MACHINE)(demo.demo)

for commands in (app, recipe.app):
    for command in commands.registered_commands:
        command.cls = help.Command
