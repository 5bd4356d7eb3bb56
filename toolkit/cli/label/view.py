"""`toolkit view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose
from toolkit.core.text import counted


def view(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Result file of toolkit infer, or its folder of parts.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Page to write (.html).", show_default="TABLE.html"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Of a larger table, show a sample of this size.")] = 2000,
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder from which paths in the table start.", show_default="this one"),
    ] = Path(),
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="MODEL", help="Names the best class of unsure images.")
    ] = Path("model"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that toolkit did not write.", show_default=False)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one page with the images of a result table: counts, unsure ones first, filters, paths to copy.

    The page needs no other file and no network; it can be mailed.
    """
    from toolkit.reviewing.candidates import Candidates
    from toolkit.reviewing.page import view as run

    page = out or (Path(f"{table}.html") if table.is_dir() else table.with_suffix(".html"))
    asked, progress = Candidates(model), console.progress()
    result = run(table, page, root=root, images=images, force=force, candidates=asked, progress=progress)
    unreadable = f", {result.n_unreadable:,} without a thumbnail" if result.n_unreadable else ""
    console.say(f"{page}: {result.n_shown:,} of {counted(result.n_rows, 'file')} shown{unreadable}")
    console.suggest("open", str(page))
