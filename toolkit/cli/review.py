"""`toolkit review`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose


def review(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Result file of toolkit infer.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where decisions go; --labels takes it.")] = Path(
        "corrections.csv"
    ),
    root: Annotated[
        Path, typer.Option(help="The folder from which paths in the table start.", show_default="this one")
    ] = Path(),
    limit: Annotated[
        int, typer.Option(min=1, help="Of larger tables so many rows are shown, the doubtful ones.")
    ] = 100_000,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on the loopback address.", show_default="a free one")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.", show_default=False)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at results one by one and accept or change labels with the keyboard.

    Unsure ones come first, then those that the model finds least likely. Each decision is written at once; the same
    command goes on with what is not decided yet. The page is served to this machine only. Ctrl-C or its button
    "Finish" ends it.

    Example: toolkit review labels.csv

    corrections.csv: 41 images decided
    """
    from toolkit.core.locking import lock
    from toolkit.inference.saved_results import SavedResults
    from toolkit.reviewing.selection import select
    from toolkit.reviewing.server import ReviewServer, open_review

    results = SavedResults(table, root)
    selection = select(results, limit)
    with lock(out):
        opened = open_review(results, selection, out)
        server = ReviewServer(opened, port)
        console.out(server.address)
        if console.on_terminal() and not no_browser:
            import webbrowser

            webbrowser.open(server.address)
        with suppress(KeyboardInterrupt):
            server.run()
        n = len(opened.corrections)
        console.say(f"{out}: {n:,} {'image' if n == 1 else 'images'} decided")
        if n:
            console.suggest("toolkit", "train", "DATA", "--labels", str(out))
