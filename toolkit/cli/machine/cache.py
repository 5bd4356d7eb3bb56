"""`toolkit cache`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose
from toolkit.cli.tables import columns


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is listed.", show_default=False)] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what has not been used for 12h, 30d, 2w, ….")
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The cache's folder.", show_default="$TOOLKIT_CACHE, or the user's"),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what is kept for later runs, or clear it: decoded images, unpacked archives, ready-made models.

    Everything in it is made again when it is needed.
    """
    from toolkit.data.cache import cache_entries, default_cache_dir, parse_age, remove_entry

    folder = cache_dir or default_cache_dir()
    now = time.time()
    least = parse_age(older_than) if older_than else 0.0
    entries = [entry for entry in cache_entries(folder) if now - entry.used >= least]
    rows = [[entry.holds, f"{entry.n_bytes / 1e6:,.1f} MB", _age(now - entry.used)] for entry in entries]
    if verbose or len({entry.holds for entry in entries}) < len(entries):  # else they could not be told apart
        shown = [str(entry.path if verbose else entry.path.relative_to(folder)) for entry in entries]
        rows = [[*row, path] for row, path in zip(rows, shown, strict=True)]
    for line in columns(rows) if rows and not console.Settings.quiet else ():
        console.out(line)
    if clear:
        for entry in entries:
            remove_entry(entry)
    size = sum(entry.n_bytes for entry in entries) / 1e6
    console.say(f"{folder}: {size:,.1f} MB {'removed' if clear else 'in the cache'}")


def _age(seconds: float) -> str:
    days = int(seconds // 86400)
    return "today" if days < 1 else "1 day" if days == 1 else f"{days:,} days"
