"""`toolkit infer`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import answers, console
from toolkit.cli.completion import devices
from toolkit.cli.options import CsvSafe, Log, MaxMemory, Quiet, Verbose
from toolkit.cli.panels import SPEED
from toolkit.core.errors import UsageError
from toolkit.core.progress import SILENT
from toolkit.core.text import counted

if TYPE_CHECKING:
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import InferOptions
    from toolkit.inference.result import InferResult

LABELS_SHOWN = 10
"""Labels that the summary counts one by one."""

FILES, NIGHT, TRAPS = "Which files", "From cron", "Camera traps"


def infer(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Files, folders, URLs, or - for a list of them.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Result: .csv, .jsonl, .parquet, .json, or folder/ of parts.",
            show_default="the screen",
        ),
    ] = None,
    part_size: Annotated[
        int | None, typer.Option(min=1, help="Inputs of a part in a folder/.", show_default="65536")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl"] | None, typer.Option("--format", help="What goes to stdout with --out -, or without.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the images, too.")
    ] = None,
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="MODEL", help="A bundle, a .onnx or .tflite file, or imagenet.")
    ] = Path("model"),
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Labels in a row, best first.", show_default="1; 5 on the screen")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="A column for every class.")] = False,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Below it a row is 'unsure'.")] = 0.0,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only files of folders that match, such as '*.png'.", rich_help_panel=FILES
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Not these files or folders, such as 'raw'.", rich_help_panel=FILES),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N|auto",
            help="Only the I-th of N shards of the files, for toolkit merge; auto asks Slurm or Kubernetes.",
            rich_help_panel=FILES,
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list on stdin is separated by NUL.", rich_help_panel=FILES)
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Images with more pixels are refused.", rich_help_panel=FILES)
    ] = 200_000_000,
    max_memory: MaxMemory = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", autocompletion=devices, help="auto, cpu, cuda, or GPUs: cuda:0,1.", rich_help_panel=SPEED
        ),
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"],
        typer.Option(help="What runs an ONNX file; auto is onnxruntime.", rich_help_panel=SPEED),
    ] = "auto",
    precision: Annotated[
        Literal["exact", "bfloat16"],
        typer.Option(help="bfloat16 is faster with openvino, where the processor has it.", rich_help_panel=SPEED),
    ] = "exact",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images in a batch.", show_default="from model and device", rich_help_panel=SPEED),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads or processes.", show_default="one per processor", rich_help_panel=SPEED),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="What the workers are.", rich_help_panel=SPEED)
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="A cluster of Ray, else it is started here.", rich_help_panel=SPEED),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Keep the rows of unchanged files.", rich_help_panel=NIGHT)
    ] = False,
    max_failures: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit with 6 if more files fail.", rich_help_panel=NIGHT)
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="MegaDetector's .json: label what it saw, box by box.", rich_help_panel=TRAPS
        ),
    ] = None,
    min_detection: Annotated[
        float, typer.Option(min=0, max=1, help="Boxes that are less sure are left out.", rich_help_panel=TRAPS)
    ] = 0.2,
    exif: Annotated[
        bool, typer.Option("--exif", help="Columns for the EXIF date and camera.", rich_help_panel=TRAPS)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT even if toolkit did not write it.", show_default=False)
    ] = False,
    csv_safe: CsvSafe = False,
    log_format: Log = console.LogFormat.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Label images: one row for every file, in a deterministic order.

    Without --out the answers are printed. With it, files and folders become a table with label, confidence and status.
    A file that cannot be read is a row too. A run that was stopped or killed continues where it was when the same
    command is given again.
    """
    from toolkit.core.coerce import choice
    from toolkit.inference.distributed.part_names import with_parts
    from toolkit.inference.distributed.shard import Shard
    from toolkit.inference.infer import infer as run
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import Engine, InferOptions, MaxFailures
    from toolkit.sessions.backend import Precision, Runtime

    options = InferOptions(
        device=device,
        runtime=choice(Runtime, runtime, "--runtime"),
        precision=choice(Precision, precision, "--precision"),
        top_k=top_k or 1,
        probabilities=probabilities,
        min_confidence=min_confidence,
        update=update,
        force=force,
        part_size=part_size,
        engine=choice(Engine, engine, "--engine"),
        ray_address=ray_address,
        engine_messages=verbose,
        detections=detections,
        min_detection=min_detection,
        exif=exif,
        csv_safe=csv_safe,
        max_failures=MaxFailures.parse(max_failures) if max_failures is not None else None,
        batch_size=batch_size,
        workers=workers,
        processes=True,
        max_pixels=max_pixels,
        max_memory=max_memory,
    )
    files = Inputs(
        paths=tuple(inputs),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        shard=Shard.parse(shard) if shard is not None else None,
        null=null,
        stdin=sys.stdin.buffer if sys.stdin is not None else None,
    )
    if out is None or out == "-":
        if update or html:
            raise UsageError(
                f"{'--update' if update else '--html'} needs a result file", hint="toolkit infer … --out labels.csv"
            )
        form = form or ("csv" if out is not None else None)
        if csv_safe and form != "csv":
            raise UsageError("--csv-safe is for CSV", hint="give --format csv, or --out labels.csv")
        if part_size is not None:
            raise UsageError("--part-size is for a folder of parts", hint="toolkit infer … --out labels/")
        _answer(files, model, options, form or "text", answers.LABELS if top_k is None and form is None else None)
        return
    if form:
        raise UsageError(
            "--format is for stdout; a file's suffix says what it holds", hint=f"--out {Path(out).stem}.{form}"
        )
    options = with_parts(out, options)
    if html and options.part_size is not None:
        raise UsageError("--html needs a result file", hint="toolkit infer … --out labels.csv")
    if html:
        from toolkit.reviewing.page import check_page

        check_page(html, force=force, option="--html")
    with console.StopSignals() as signals:
        result = run(files, Path(out), model, options, progress=console.progress(), stop=signals.event)
    console.say(summary(result), **fields(result))
    if not result.complete:
        raise typer.Exit(signals.exit_code)
    if html and result.n_files:
        from toolkit.reviewing.candidates import Candidates
        from toolkit.reviewing.page import view

        view(Path(out), html, force=force, candidates=Candidates(model), progress=console.progress())
    if result.n_ok + result.n_unsure:
        console.suggest(*(("open", str(html)) if html else ("toolkit", "view", out)))
    result.check(options.max_failures)


def _answer(files: Inputs, model: Path, options: InferOptions, form: str, most: int | None) -> None:
    """Every row to stdout as it comes, the summary to stderr."""
    from toolkit.inference.stream import stream

    progress = SILENT if sys.stdout.isatty() else console.progress()
    with console.StopSignals() as signals:
        opened = stream(files, model, options, most=most, progress=progress, stop=signals.event)
        answers.write(opened, form)
    result = opened.result
    if form != "text" or result.n_files > 1 or not result.complete:
        console.say(summary(result), **fields(result))
    if not result.complete:
        raise typer.Exit(signals.exit_code)
    result.check(options.max_failures)


def summary(result: InferResult) -> str:
    """The one line that a run leaves in a log."""
    if not result.complete and str(result.out) == "-":
        return f"stopped after {files(result)}"
    if not result.complete:
        kept = (
            f"of which whole parts are kept in {result.out}"
            if result.out.is_dir()
            else f"which are kept in {result.out}.partial"
        )
        return f"stopped after {files(result)}, {kept}; the same command continues from there"
    parts = [counts_by_label(result)]
    parts += [f"{result.n_continued:,} of them by an earlier run"] if result.n_continued else []
    if result.redone:
        parts.append("all done again, because the model or an option is another one")
    elif result.n_kept:
        parts.append(f"{result.n_kept:,} unchanged, {result.n_new:,} new or changed, {result.n_gone:,} gone")
    parts += [str(result.counts)] if str(result.counts) else []
    device = f"{result.device}, {result.arithmetic}" if result.arithmetic else result.device
    note = result.note if console.Settings.verbose or not result.note.startswith("no NVIDIA") else ""
    device = f"{device}: {note}" if note else device
    return f"{files(result)}: {'; '.join(parts)} ({device}){'' if str(result.out) == '-' else f' -> {result.out}'}"


def files(result: InferResult) -> str:
    """How many, in words."""
    return counted(result.n_files, "row" if result.detections else "file")


def counts_by_label(result: InferResult) -> str:
    """`Dog 15,801 · Cat 9,120 · unsure 77 · failed 0`: the most frequent labels first."""
    ordered = sorted(result.labels.items(), key=lambda item: (-item[1], item[0]))
    counts = [f"{label} {n:,}" for label, n in ordered[:LABELS_SHOWN]]
    if rest := ordered[LABELS_SHOWN:]:
        counts.append(f"{len(rest):,} other {'label' if len(rest) == 1 else 'labels'} {sum(n for _, n in rest):,}")
    counts += [f"empty {result.n_empty:,}"] if result.detections else []
    return " · ".join([*counts, f"unsure {result.n_unsure:,}", f"failed {result.n_errors:,}"])


def fields(result: InferResult) -> dict[str, object]:
    """The same for a JSON log."""
    return {
        "event": "finished" if result.complete else "stopped",
        "out": str(result.out),
        "files": result.n_files,
        "ok": result.n_ok,
        "unsure": result.n_unsure,
        "errors": result.n_errors,
        "empty": result.n_empty,
        "continued": result.n_continued,
        "unchanged": result.n_kept,
        "new": result.n_new,
        "gone": result.n_gone,
        "redone": result.redone,
        "labels": dict(result.labels),
        "others": result.counts.others,
        "suffixes": dict(result.counts.suffixes),
        "repeated": result.counts.repeated,
        "excluded": result.counts.excluded,
        "hidden": result.counts.hidden,
        "device": result.device,
        "arithmetic": result.arithmetic,
        "note": result.note,
    }
