"""Commands: infer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.inference import InferResult


def infer(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Files, folders, or - for a list on stdin.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Result file: .csv, .jsonl or .parquet.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A bundle, or a .onnx or .tflite file.")] = Path("model"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    top_k: Annotated[int, typer.Option(min=1, help="Labels in each row.")] = 1,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="A column for every class.")] = False,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Below it a row is 'unsure'.")] = 0.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Label pictures: one row for every file, in a deterministic order.

    Files and folders become a table with label, confidence and status. A file that cannot be read is a row too.

    Example: toolkit infer photos/ --out labels.csv
    """
    from toolkit.inference import InferOptions
    from toolkit.inference import infer as run
    from toolkit.inputs import Inputs

    options = InferOptions(
        device=device,  # type: ignore[arg-type]
        top_k=top_k,
        probabilities=probabilities,
        min_confidence=min_confidence,
    )
    result = run(Inputs(paths=tuple(inputs)), out, model, options, progress=console.progress())
    console.say(summary(result))
    result.check(options)


def summary(result: InferResult) -> str:
    """The one line that a run leaves in a log."""
    parts = [f"{result.n_files:,} files: {result.n_ok:,} labelled"]
    if result.n_unsure:
        parts.append(f"{result.n_unsure:,} unsure")
    parts.append(f"{result.n_errors:,} failed")
    if result.counts.others:
        parts.append(f"{result.counts.others:,} other files passed over")
    return f"{', '.join(parts)} ({result.device}) -> {result.out}"
