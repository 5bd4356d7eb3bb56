"""`toolkit sort`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose
from toolkit.core.errors import GateError, UsageError
from toolkit.core.text import counted, printable
from toolkit.splitting.mode import Mode

if TYPE_CHECKING:
    from toolkit.sorting import SortResult, Undone

SHOWN = 12
"""How many files of one kind are named."""


def sort(
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder to make, with a folder for each label in it.")
    ],
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="TABLE", help="Result file of toolkit infer, or its folder of parts.", show_default=False
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option(metavar="copy|hardlink|symlink|move", help="How files get there.")] = Mode.COPY,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Below it a file goes to unsure/.")] = 0.0,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only this many files per label, the most confident.", show_default="all"),
    ] = None,
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder from which paths in the table start.", show_default="this one"),
    ] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.", show_default=False)
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo earlier sorts into this folder.", show_default=False)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Bring the files of a result table into a folder for each label.

    Unsure files go to unsure/, unreadable ones to error/. Nothing is ever replaced, and --undo takes all back.
    """
    from toolkit import sorting

    if undo:
        if table is not None:
            raise UsageError("--undo takes no table", hint=f"toolkit sort --undo --into {into}")
        _report_undone(into, sorting.undo(into, console.progress(), dry_run=dry_run))
        return
    if table is None:
        raise UsageError("the table of results is missing", hint=f"toolkit sort labels.csv --into {into}")
    options = sorting.SortOptions(
        into=into,
        mode=mode,
        min_confidence=min_confidence,
        top=top,
        root=root,
        dry_run=dry_run,
    )
    _report(sorting.sort(table, options, console.progress()))


def _report(result: SortResult) -> None:
    """The folders, and every file that is not where it should be.

    Raises:
        GateError: there are such files.
    """
    folders = " · ".join(f"{folder} {n:,}" for folder, n in _ordered(result.folders).items())
    _list("not there", result.missing)
    _list("not placed", [f"{path}: {reason}" for path, reason in result.failed])
    if result.dry_run:
        _print_counts(result.folders)
    there = f", {result.n_there:,} there already" if result.n_there else ""
    missing = f", {len(result.missing):,} not there" if result.missing else ""
    failed = f", {len(result.failed):,} not placed" if result.failed else ""
    done = "to place, nothing written (--dry-run)" if result.dry_run else "placed"
    each = "" if result.dry_run else f": {folders}"  # of a dry run they stand on stdout
    console.say(f"{result.into}: {counted(result.n_placed, 'file')} {done}{there}{missing}{failed}{each}")
    n_lacking = len(result.missing) + len(result.failed)
    if result.dry_run and result.n_placed:
        console.suggest("toolkit", *(word for word in sys.argv[1:] if word != "--dry-run"))
    if n_lacking and not result.dry_run:
        raise GateError(
            f"{printable(str(result.into))}: {counted(n_lacking, 'file')} of the table could not be placed; "
            "everything else is done",
            hint="the lines above say why; the same command places what is there again",
        )


def _list(title: str, listed: list[str]) -> None:
    for text in listed[:SHOWN]:
        console.say(f"{title}: {text}")
    if len(listed) > SHOWN:
        console.say(f"{title}: {len(listed) - SHOWN:,} more")


def _print_counts(folders: Mapping[str, int]) -> None:
    for folder, n in _ordered(folders).items():
        console.out(f"{folder}: {n:,}")


def _ordered(folders: Mapping[str, int]) -> dict[str, int]:
    """The folders by name, `unsure` and `error` last."""
    last = ("unsure", "error")
    return dict(sorted(folders.items(), key=lambda item: (item[0] in last, item[0] == "error", item[0])))


def _report_undone(into: Path, undone: Undone) -> None:
    """What was taken back, and every file that was not.

    Raises:
        GateError: some are left.
    """
    _list("not there", undone.missing)
    _list("left", [f"{path}: {reason}" for path, reason in undone.kept])
    if undone.dry_run:
        _print_counts(undone.folders)
    missing = f", {len(undone.missing):,} not there" if undone.missing else ""
    kept = f", {len(undone.kept):,} left" if undone.kept else ""
    done = "to take back, nothing written (--dry-run)" if undone.dry_run else "taken back"
    console.say(f"{into}: {counted(undone.n_files, 'file')} {done}{missing}{kept}")
    if undone.kept and not undone.dry_run:
        raise GateError(
            f"{printable(str(into))}: {len(undone.kept):,} left where they are; everything else is taken back",
            hint="the lines above say why; sort.csv still lists them",
        )
