"""`toolkit export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.exporting.results import ExportResult


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle, or a .keras file.")] = Path("model"),
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx.", show_default=False)] = False,
    tflite: Annotated[bool, typer.Option("--tflite", help="Write model.tflite.", show_default=False)] = False,
    savedmodel: Annotated[bool, typer.Option("--savedmodel", help="Write saved_model/.", show_default=False)] = False,
    quantize: Annotated[
        Literal["float16", "int8"] | None, typer.Option(help="Smaller numbers: model.float16.onnx, model.int8.tflite.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Class folders to verify with.", show_default="the bundle's own")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files go.", show_default="the bundle")
    ] = None,
    opset: Annotated[int, typer.Option(min=13, max=18, help="ONNX operator set.")] = 18,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, one a line, in order.")] = None,
    values: Annotated[
        Literal["0..255", "0..1", "-1..1"] | None,
        typer.Option(help="Values that the first layer expects."),
    ] = None,
    output: Annotated[
        Literal["logits", "probabilities"] | None, typer.Option(help="What the last layer outputs.")
    ] = None,
    resize: Annotated[Literal["squash", "crop", "pad"], typer.Option(help="How images are resized.")] = "squash",
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"], typer.Option(help="What an ONNX file is verified with.")
    ] = "auto",
    kit: Annotated[
        bool, typer.Option("--kit", help="Also write kit/: model, samples, minimal clients.", show_default=False)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Keep a file that fails its verification.", show_default=False)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write files that a device can run; each is verified against the Keras model before it is kept.

    The files take uint8 images and give probabilities; scaling, softmax and the class names are inside.
    """
    from toolkit.core.coerce import choice
    from toolkit.exporting.export import export as run
    from toolkit.exporting.options import ExportOptions, Quantize
    from toolkit.images.spec import Resize
    from toolkit.model_files.conventions import Output, Values
    from toolkit.sessions.backend import Runtime

    options = ExportOptions(
        onnx=onnx,
        tflite=tflite,
        savedmodel=savedmodel,
        quantize=Quantize(quantize) if quantize else None,
        data=data,
        out=out,
        opset=opset,
        labels=labels,
        values=Values(values) if values else None,
        output=Output(output) if output else None,
        resize=Resize(resize),
        runtime=choice(Runtime, runtime, "--runtime"),
        kit=kit,
        force=force,
    )
    _say_result(run(model, options, console.progress()))


def _say_result(result: ExportResult) -> None:
    rows = [("file", "size", "images", "largest difference", "same top-1", "accuracy (Keras)")]
    for artefact in result.artefacts:
        found = artefact.verification
        accuracy = f"{found.accuracy[0]:.4f} ({found.accuracy[1]:.4f})" if found.accuracy else "-"
        rows.append(
            (
                str(artefact.path),
                _size(artefact.size_bytes),
                f"{found.n_images:,}",
                f"{found.difference:.1e}",
                f"{found.agreement:.2%}",
                accuracy,
            )
        )
    for line in _aligned(rows):
        console.say(line)
    runnable = [artefact.path for artefact in result.artefacts if artefact.path.suffix in {".onnx", ".tflite"}]
    if runnable:
        model = runnable[0].parent if runnable[0].name == "model.onnx" else runnable[0]
        chosen = () if str(model) == "model" else ("--model", str(model))
        console.suggest("toolkit", "infer", "photos/", "--out", "labels.csv", *chosen)
    if result.kit_path:
        console.say(
            f"{result.kit_path}: model, samples and clients; try: python {result.kit_path / 'classify.py'} IMAGE"
        )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
