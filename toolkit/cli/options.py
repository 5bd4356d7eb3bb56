"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.cli import console

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=console.set_quiet, help="Print nothing but errors.", show_default=False),
]
Log = Annotated[
    console.LogFormat,
    typer.Option("--log-format", callback=console.set_log_format, help="text, or one JSON object a line on stderr."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", callback=console.set_verbose, help="Print tracebacks.", show_default=False)
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        metavar="TABLE",
        help="Labels from this table, not from folders; of several the later counts. 'folders': the class folders.",
        show_default="metadata.csv, else class folders",
    ),
]
Columns = Annotated[
    str, typer.Option("--columns", metavar="FILE,LABEL", help="The columns of the table with file and label.")
]
COLUMNS = "file_name,label"
"""The columns that a table of labels has unless `--columns` says otherwise."""
MaxMemory = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="Memory for decoding, such as 2GB.", show_default="half of the machine's"),
]
CsvSafe = Annotated[
    bool,
    typer.Option(
        "--csv-safe", help="An apostrophe before each cell that a spreadsheet would compute.", show_default=False
    ),
]
MaxPixels = Annotated[int, typer.Option(help="Leave out images of more pixels.", min=1)]
Workers = Annotated[int | None, typer.Option(help="Threads.", show_default="one per processor", min=1)]
SHOWN = 12
"""How many files of one kind the terminal lists; the table on disk has them all."""


def switch(text: str, *names: str) -> typer.models.OptionInfo:
    """An option that is on or off, whose help shows no default."""
    option: typer.models.OptionInfo = typer.Option(*names, help=text, show_default=False)
    return option
