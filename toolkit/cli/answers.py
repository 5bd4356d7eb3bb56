"""Rows on stdout: for people, or as CSV or JSON lines for the next program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from toolkit.cli import console

if TYPE_CHECKING:
    from toolkit.inference.result_table import ResultRow
    from toolkit.inference.stream import RowStream

LABELS = 5
"""Labels of an image that are shown, if it has so many."""

BAR = 24
"""Characters of a bar of 100 %."""


def write(stream: RowStream, form: str) -> None:
    """Write every row to stdout as it comes; `form` is text, csv or jsonl."""
    if form == "text":
        draw = _drawn if sys.stdout.isatty() else _plain
        for row in stream.rows:
            console.out(draw(row))
        return
    from toolkit.inference.result_formats import json_line
    from toolkit.inference.result_table import encode

    out = sys.stdout.buffer
    if form == "csv":
        out.write(encode([stream.table.columns]))
    for row in stream.rows:
        out.write(stream.table.encode([row]) if form == "csv" else json_line(stream.table, row))
        out.flush()


def _plain(row: ResultRow) -> str:
    """`photos/1.jpg: Cat 97.1 %, Dog 2.9 %`, or `photos/2.jpg: unsure: Cat 51.2 %, Dog 48.8 %`."""
    ranked = ", ".join(f"{label} {_percent(p)}" for label, p in row.ranked)
    return f"{_name(row)}: {_problem(row) or _unsure(row) + ranked}"


def _drawn(row: ResultRow) -> str:
    """The labels of an image below its name, each with a bar."""
    from toolkit.cli.tables import columns

    if problem := _problem(row):
        return f"{_name(row)}\n  {problem}"
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    lines = columns([[label, (block * round(BAR * p)).ljust(BAR), _percent(p)] for label, p in row.ranked])
    return "\n  ".join([f"{_name(row)}{'' if row.label else ': unsure'}", *lines])


def _name(row: ResultRow) -> str:
    """The file, and what a detector took the part of it for."""
    found = row.detection
    return f"{row.path} ({found.category} {_percent(found.confidence)})" if found else row.path


def _problem(row: ResultRow) -> str:
    """Why a row has no label; "" where it has one."""
    if row.error:
        return f"failed: {row.error}"
    if not row.ranked:
        return "empty: no box with a size that is sure enough (--min-detection)"
    return ""


def _unsure(row: ResultRow) -> str:
    return "" if row.label else "unsure: "


def _percent(p: float) -> str:
    return f"{100 * p:.1f} %"
