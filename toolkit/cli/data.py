"""`toolkit split` and `toolkit check`: prepare the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.splitting import SplitResult


def split(
    source: Annotated[Path, typer.Argument(help="A folder of class folders, or a .zip, .tar or .tgz of one.")],
    ratio: Annotated[str, typer.Option(help="Part for training; or of train,validation,test.")] = "0.9",
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="SOURCE-split")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier split.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Split class folders into training and validation pictures; leave out what is no picture."""
    from toolkit.split_plan import parse_ratio
    from toolkit.splitting import SplitOptions
    from toolkit.splitting import split as run

    options = SplitOptions(ratio=parse_ratio(ratio), seed=seed, out=out, force=force)
    _report(run(source, options, console.progress()))


def _report(result: SplitResult) -> None:
    totals: dict[str, int] = {}
    for counts in result.counts().values():
        for subset, n in counts.items():
            totals[subset] = totals.get(subset, 0) + n
    for row in result.left_out if result.done else []:
        console.say(f"left out: {row.path}: {row.note}")
    parts = ", ".join(f"{n:,} {subset}" for subset, n in totals.items())
    verb = "is" if result.done else "left alone, it is already"
    console.say(
        f"{result.out}: {verb} {parts}; {len(result.left_out):,} files left out, see {result.out / 'split.csv'}"
    )
