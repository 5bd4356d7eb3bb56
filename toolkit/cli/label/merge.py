"""`toolkit merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.label.infer import counts_by_label, fields, files
from toolkit.cli.options import Log, Quiet, Verbose, switch


def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="PART", help="Result files of toolkit infer --shard.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Result file: .csv, .jsonl or .parquet.")],
    max_failures: Annotated[str | None, typer.Option(metavar="N|P%", help="Exit with 6 if more files failed.")] = None,
    force: Annotated[bool, switch("Replace OUT even if toolkit did not write it.", "--force")] = False,
    log_format: Log = console.LogFormat.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put the results of all shards together: the table that one run would have written, byte for byte.

    A missing shard, one that is there twice, and shards of another model, other options or other inputs are refused.
    """
    from toolkit.inference.options import MaxFailures
    from toolkit.scaling.merge import merge as run

    allowed = MaxFailures.parse(max_failures) if max_failures is not None else None
    result = run(parts, out, force=force, progress=console.progress())
    shards = "1 shard" if result.n_shards == 1 else f"{result.n_shards:,} shards"
    console.say(f"{files(result)}: {counts_by_label(result)} ({shards}) -> {out}", **fields(result))
    result.check(allowed)
