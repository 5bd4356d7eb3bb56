"""`toolkit split`."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import COLUMNS, SHOWN, Columns, Labels, MaxMemory, MaxPixels, Quiet, Verbose, Workers, switch
from toolkit.splitting.mode import Mode

if TYPE_CHECKING:
    from toolkit.splitting.split import SplitResult


Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A folder of class folders, or a .zip, .tar, .tar.gz or .tgz of one.")
]


def split(
    source: Source,
    labels: Labels = None,
    columns: Columns = COLUMNS,
    ratio: Annotated[
        str, typer.Option(metavar="X[,X,X]", help="Share for training, or three shares: train,validation,test.")
    ] = "0.9",
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to make.", show_default="SOURCE-split in this folder")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How images get into the split.")] = Mode.COPY,
    group_by: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Keep files in one subset where this matches the same text.")
    ] = None,
    keep_duplicates: Annotated[bool, switch("Keep exact copies, together in one subset.", "--keep-duplicates")] = False,
    near_duplicates: Annotated[bool, switch("Keep near copies in one subset.", "--near-duplicates")] = False,
    update: Annotated[bool, switch("Add what is new to an earlier split; nothing in it moves.", "--update")] = False,
    force: Annotated[bool, switch("Replace an earlier split.", "--force")] = False,
    dry_run: Annotated[bool, switch("Print the plan and write nothing.", "--dry-run")] = False,
    strict: Annotated[bool, switch("Fail where a file would be left out.", "--strict")] = False,
    no_verify: Annotated[bool, switch("Trust the images' headers, decode none.", "--no-verify")] = False,
    max_pixels: MaxPixels = 200_000_000,
    max_memory: MaxMemory = None,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Split class folders into training and validation images; other files are left out and listed."""
    from toolkit.data.label_table import LabelTables
    from toolkit.data.walk import require_read
    from toolkit.splitting.options import SplitOptions
    from toolkit.splitting.plan import parse_ratio
    from toolkit.splitting.split import split as run

    options = SplitOptions(
        labels=LabelTables.parse(labels or (), columns),
        ratio=parse_ratio(ratio),
        seed=seed,
        out=out,
        mode=mode,
        group_by=group_by,
        keep_duplicates=keep_duplicates,
        near_duplicates=near_duplicates,
        update=update,
        force=force,
        dry_run=dry_run,
        strict=strict,
        verify=not no_verify,
        max_pixels=max_pixels,
        max_memory=max_memory,
        workers=workers,
    )
    gc.set_threshold(20_000, 50, 100)  # the rows live until the end: looking for garbage among them takes a tenth
    result = run(source, options, console.progress())
    _report_split(result)
    require_read([row.path for row in result.left_out])


def _report_split(result: SplitResult) -> None:
    """The plan on stdout for a dry run; else a line, and on a terminal the details as well."""
    if result.outcome == "planned":
        for line in _split_details(result):
            console.out(line)
    elif console.on_terminal() and result.done:
        for line in _split_details(result):
            console.say(line)
    else:
        for line in _deviations(result):
            console.say(line)
    console.say(_split_summary(result))
    if result.outcome != "planned":
        console.suggest("toolkit", "train", str(result.out))


def _split_details(result: SplitResult) -> list[str]:
    from toolkit.cli.tables import columns

    counts = result.counts()
    rows = [[label, *(f"{n:,}" for n in parts.values())] for label, parts in counts.items()]
    totals = [f"{sum(parts[subset] for parts in counts.values()):,}" for subset in result.subsets]
    lines = columns([["class", *result.subsets], *rows, ["all", *totals]])
    lines += _deviations(result)
    for title, listed in (("left out", result.left_out), ("kept, but note", result.flagged)):
        lines += [f"{title}: {row.path}: {row.note}" for row in listed[:SHOWN]]
        if len(listed) > SHOWN:
            lines.append(f"{title}: {len(listed) - SHOWN:,} more")
    return lines


def _deviations(result: SplitResult) -> list[str]:
    return [
        f"{found.label}: {found.count:,} in {found.subset}, the ratio asks for {found.wanted:,}"
        for found in result.deviations()
    ]


def _split_summary(result: SplitResult) -> str:
    from collections import Counter

    from toolkit.data.passed_over import PassedOver
    from toolkit.data.split_tree import TABLE

    words = {
        "made": "made",
        "updated": "updated",
        "completed": "completed an interrupted run",
        "unchanged": "left alone: already split from the same source with the same settings",
        "planned": "nothing written (--dry-run)",
    }
    subsets = Counter(row.subset for row in result.rows if row.subset)
    parts = ", ".join(f"{subsets[subset]:,} {subset}" for subset in result.subsets)
    reasons = Counter(row.reason for row in result.left_out)
    others = PassedOver.of(row.path for row in result.left_out if row.reason == "not_an_image").by_suffix
    kinds = {"not_an_image": f"not_an_image: {others}"}
    why = ", ".join(f"{n:,} {kinds.get(reason, reason)}" for reason, n in sorted(reasons.items()))
    left_out = f"; left out {len(result.left_out):,} ({why})" if reasons else ""
    flagged = f"; {len(result.flagged):,} to note" if result.flagged else ""
    see = f"; see {result.out / TABLE}" if result.outcome != "planned" and (reasons or flagged) else ""
    return f"{result.out}: {words[result.outcome]}: {parts}{left_out}{flagged}{see}"
