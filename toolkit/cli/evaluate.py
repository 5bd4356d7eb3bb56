"""Commands: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.evaluation import Evaluation


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with one folder of pictures per class.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A bundle, or a .onnx or .tflite file.")] = Path("model"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the reports.")] = Path("evaluation"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Below it a picture is 'unsure'.")] = 0.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Judge a model by labelled folders: report, confusion, plots, an HTML page.

    Example: toolkit evaluate PetImages-split/validation --out evaluation
    """
    from toolkit.evaluation import EvaluateOptions
    from toolkit.report import evaluate as run

    options = EvaluateOptions(device=device, min_confidence=min_confidence)  # type: ignore[arg-type]
    evaluation = run(data, model, out, options, console.progress())
    console.say(f"{summary(evaluation)} -> {out}")


def summary(evaluation: Evaluation) -> str:
    """The one line that a run leaves in a log."""
    report, data = evaluation.report, evaluation.data
    parts = [f"{data.n_labelled:,} pictures", f"accuracy {report.accuracy:.4f}", f"macro F1 {report.macro.f1:.4f}"]
    if report.unsure:
        parts.append(f"{report.unsure:,} unsure")
    if data.n_failures:
        parts.append(f"{data.n_failures:,} unreadable")
    return f"{', '.join(parts)} ({evaluation.model.device})"
