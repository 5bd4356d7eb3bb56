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
