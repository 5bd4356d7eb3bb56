"""`toolkit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import console
from toolkit.cli.completion import devices
from toolkit.cli.options import COLUMNS, Columns, CsvSafe, Labels, MaxMemory, Quiet, Verbose, switch
from toolkit.core.text import counted, harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolkit.evaluation.compare import Compared
    from toolkit.evaluation.result import Evaluation

MAX_INLINE_CLASSES = 12


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with one folder of images per class.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="A bundle, .onnx or .tflite file, or imagenet; several are compared.",
            show_default="model",
            metavar="MODEL",
        ),
    ] = None,
    labels: Labels = None,
    columns: Columns = COLUMNS,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the reports.")] = Path(
        "evaluation"
    ),
    fail_under: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=X,…", help="Exit 6 if a metric is lower, such as accuracy=0.9,recall:Dog=0.85."),
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Below it an image is 'unsure'.")] = 0.0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files in OUT that toolkit did not write.", show_default=False)
    ] = False,
    csv_safe: CsvSafe = False,
    strict: Annotated[bool, switch("An empty class folder is an error.", "--strict")] = False,
    max_memory: MaxMemory = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", autocompletion=devices, help="auto, cpu, cuda, or GPUs: cuda:0,1.")
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"], typer.Option(help="What runs an ONNX file; auto is onnxruntime.")
    ] = "auto",
    precision: Annotated[
        Literal["exact", "bfloat16"], typer.Option(help="bfloat16 is faster with openvino, where the processor has it.")
    ] = "exact",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a model on labelled folders: report, confusion, plots, an HTML page.

    Several models are compared side by side. DATA may be a split tree: its held-out subset is used.
    """
    from toolkit.core.coerce import choice
    from toolkit.data.label_table import LabelTables
    from toolkit.data.walk import require_read
    from toolkit.evaluation.compare import compare
    from toolkit.evaluation.report import evaluate as run
    from toolkit.evaluation.report_folder import COMPARE_PAGE
    from toolkit.evaluation.report_page import PAGE
    from toolkit.evaluation.result import EvaluateOptions
    from toolkit.evaluation.summary import check_gates, check_names, parse_gates
    from toolkit.sessions.backend import Precision, Runtime
    from toolkit.sessions.open_session import open_session

    models = model or [Path("model")]
    options = EvaluateOptions(
        labels=LabelTables.parse(labels or (), columns),
        device=device,
        runtime=choice(Runtime, runtime, "--runtime"),
        precision=choice(Precision, precision, "--precision"),
        min_confidence=min_confidence,
        force=force,
        max_memory=max_memory,
        csv_safe=csv_safe,
        strict=strict,
    )
    gates = [gate for text in fail_under or [] for gate in parse_gates(text)]
    for path in models if gates else ():
        check_names(gates, open_session(path, device="cpu", threads=1).contract.labels)
    if len(models) > 1:
        compared = compare(data, models, out, options, console.progress())
        evaluations = [c.evaluation for c in compared]
        for line in [*compared_lines(compared), *(f"{c.name}: {summary(c.evaluation)}" for c in compared)]:
            console.say(line)
        page = out / COMPARE_PAGE
        console.say(f"{len(compared)} models compared -> {page}")
    else:
        evaluations = [run(data, models[0], out, options, console.progress())]
        if console.on_terminal():
            show(evaluations[0])
        page = out / PAGE
        console.say(f"{summary(evaluations[0])} -> {page}")
    console.suggest("open", str(page))
    require_read(evaluations[0].data.unread)
    check_gates(gates, evaluations)


def summary(evaluation: Evaluation) -> str:
    """The one line that a run leaves in a log."""
    report, data = evaluation.report, evaluation.data
    parts = [counted(data.n_labelled, "image"), f"accuracy {report.accuracy:.4f}", f"macro F1 {report.macro.f1:.4f}"]
    if report.unsure:
        parts.append(f"{report.unsure:,} unsure")
    if data.n_failures:
        parts.append(f"{data.n_failures:,} unreadable")
    parts += [str(data.passed_over)] if str(data.passed_over) else []
    model = evaluation.model
    device = f"{model.device}, {model.arithmetic}" if model.arithmetic else model.device
    return f"{', '.join(parts)} ({device})"


def compared_lines(compared: Sequence[Compared]) -> list[str]:
    """A line for each model: accuracy, difference from the first with its interval, size, speed."""
    width = max(len(c.name) for c in compared)
    lines = []
    for c in compared:
        model, (low, high) = c.evaluation.model, c.difference_interval
        lines.append(
            f"{c.name:<{width}}  accuracy {c.evaluation.report.accuracy:.4f}  "
            f"{c.difference:+.4f} ({low:+.4f} to {high:+.4f})  {c.changed:,} changed  "
            f"{model.size_bytes / 1e6:,.2f} MB  {model.pictures_per_s:,.0f} images/s  {model.run_ms:.2g} ms"
        )
    return lines


def show(evaluation: Evaluation) -> None:
    """The compact report on a terminal: metrics, the classes, and the confusion where there are few of them."""
    if console.Settings.quiet:
        return
    from rich.table import Table
    from rich.text import Text

    from toolkit.evaluation.report_files import number, one_line

    report, labels = evaluation.report, evaluation.labels
    few = len(labels) <= MAX_INLINE_CLASSES
    classes = [c for c in report.classes if c.support or few]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("class")
    for name in ("precision", "recall", "f1", "support"):
        table.add_column(name, justify="right")
    for c in sorted(classes, key=lambda c: c.f1)[: None if few else 20]:
        rates = (number(c.precision), number(c.recall), number(c.f1))
        table.add_row(Text(one_line(c.label)), *rates, f"{c.support:,}")
    console.terminal().print(table)
    if few:
        matrix = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), title_justify="left")
        matrix.add_column("true \\ predicted")
        for label in labels:
            matrix.add_column(Text(one_line(label)[:10]), justify="right")
        for i, row in enumerate(evaluation.confusion.counts.tolist()):
            cells = [Text(f"{n:,}", _look(i == j, n)) for j, n in enumerate(row)]
            matrix.add_row(Text(one_line(labels[i])), *cells)
        console.terminal().print()
        console.terminal().print(matrix)
    for note in evaluation.notes:
        console.terminal().print("\n" + harmless(note), style="yellow", markup=False)


def _look(right: bool, n: int) -> str:
    if not n:
        return "dim"
    return "bold blue" if right else "red"
