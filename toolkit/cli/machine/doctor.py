"""`toolkit doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what this machine can do, and why CUDA is not used.

    Ends with 8 where something that every command needs is broken.
    """
    from toolkit.doctor import Verdict, diagnose

    findings = diagnose()
    if json_:
        import json
        from dataclasses import asdict

        console.out(json.dumps([asdict(finding) for finding in findings], indent=1), document=True)
    else:
        for finding in findings:
            console.out(f"{finding.verdict:<7}{finding.subject:<24}{finding.found}")
            if finding.repair:
                console.out(f"{'':<31}-> {finding.repair}")
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        raise typer.Exit(8)
