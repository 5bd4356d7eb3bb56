"""`toolkit review`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose
from toolkit.core.errors import ModelError, UsageError
from toolkit.core.text import counted, printable

if TYPE_CHECKING:
    from toolkit.inference.saved_results import SavedResults

TEAMS = "With a team"


def review(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Result file of toolkit infer, or its folder of parts.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where decisions go; --labels takes it.")
    ] = Path("corrections.csv"),
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder from which paths in the table start.", show_default="this one"),
    ] = Path(),
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Its classes can be chosen; suggests labels for unsure images.",
            show_default="model, if the table is of it",
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Classes that can be chosen, one a line.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Of a larger table, show this many doubtful rows.")] = 100_000,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on the loopback address.", show_default="a free one")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.", show_default=False)
    ] = False,
    to: Annotated[
        Literal["label-studio"] | None, typer.Option(help="Write tasks for a team to --file.", rich_help_panel=TEAMS)
    ] = None,
    from_: Annotated[
        Literal["label-studio"] | None,
        typer.Option("--from", help="Take a team's decisions from --file.", rich_help_panel=TEAMS),
    ] = None,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The tasks, or the export.", rich_help_panel=TEAMS)] = Path(
        "label-studio.json"
    ),
    prefix: Annotated[
        str, typer.Option(help="Prefix for the path in an image's address.", rich_help_panel=TEAMS)
    ] = "/data/local-files/?d=",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at results one by one and accept or change labels with the keyboard.

    Unsure ones come first, then those that the model finds least likely. Each decision is written at once; the same
    command continues with what is not decided yet. The page is served to this machine only. Ctrl-C or its button
    "Finish" ends it.
    """
    from toolkit.core.locking import lock
    from toolkit.inference.distributed.part_names import refuse_among_parts
    from toolkit.inference.saved_results import SavedResults
    from toolkit.reviewing.candidates import Candidates
    from toolkit.reviewing.page import known_labels
    from toolkit.reviewing.selection import one_a_file, select
    from toolkit.reviewing.server import ReviewServer, open_review

    results = SavedResults(table, root)
    selection = select(one_a_file(results), limit)
    classes = _classes(model, labels, known_labels(results, selection))
    if to and from_:
        raise UsageError("--to and --from: give one of them")
    for option, path in (("--file", file),) if to else (("--out", out),):
        refuse_among_parts(path, option)
    if to:
        from toolkit.reviewing.label_studio import write_tasks

        choices = sorted({*known_labels(results, selection), *classes})
        n = write_tasks(selection.rows, choices, file, prefix)
        console.say(f"{file}: {counted(n, 'task')}; {file.with_suffix('.xml')}: the labelling set-up")
        return
    with lock(out):
        if from_:
            _take(results, file, out)
            return
        results.require_files(selection.rows)
        opened = open_review(results, selection, out, classes, Candidates(model or Path("model")))
        server = ReviewServer(opened, port)
        with console.StopSignals() as signals:  # also where Ctrl-C was switched off, as for a shell's background jobs
            console.out(server.address)
            sys.stdout.flush()  # a pipe would keep the address until the end
            if console.on_terminal() and not no_browser:
                _open_in_browser(server.address)
            server.run(signals.event)
        opened.corrections.finish()
        n = len(opened.corrections)
        if not n and not out.exists():
            console.say(f"no image decided; {out} was not written")
        else:
            console.say(f"{out}: {counted(n, 'image')} decided")
        if n:
            console.suggest("toolkit", "train", "DATA", "--labels", str(out))
    if signals.exit_code == 128 + signal.SIGTERM:
        raise typer.Exit(signals.exit_code)


def _open_in_browser(address: str) -> None:
    """Open a browser with windows; one that draws into this terminal would hold the command up until it is closed."""
    import webbrowser

    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(address)


def _classes(model: Path | None, labels: Path | None, named: list[str]) -> tuple[str, ...]:
    """The classes that can be chosen, beside those that the table names."""
    from toolkit.data.labels_file import read_labels
    from toolkit.model_files.bundle import load_bundle
    from toolkit.model_files.contract_io import read_contract
    from toolkit.sessions.resolve import BUNDLE_FILE, resolve_model

    found = list(read_labels(labels)) if labels else []
    if model is not None:
        is_bundle = (model / BUNDLE_FILE).is_file()
        contract = load_bundle(model).contract if is_bundle else read_contract(resolve_model(model))
        return (*found, *map(printable, contract.labels))
    with suppress(ModelError):
        shown = list(map(printable, load_bundle(Path("model")).contract.labels))
        found += shown if set(named) <= set(shown) else []
    return tuple(found)


def _take(results: SavedResults, file: Path, out: Path) -> None:
    """Write the decisions of an export to `out`; those about images that the table does not name are named."""
    from toolkit.reviewing.corrections import Corrections
    from toolkit.reviewing.label_studio import read_annotations

    known = {row.path for row in results}
    found = read_annotations(file)
    corrections = Corrections(out)
    corrections.add(correction for correction in found if correction.file_name in known)
    for correction in found:
        if correction.file_name not in known:
            console.say(f"warning: {file}: not in {results.path}: {correction.file_name}")
    n = sum(correction.file_name in known for correction in found)
    console.say(f"{out}: {counted(n, 'decision')} taken from {file}")
