"""export, adopt, inspect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.exporting.options import ExportResult
    from toolkit.model_files.inspect import Inspection


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle, or a .keras file.")] = Path("model"),
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx.", show_default=False)] = False,
    tflite: Annotated[bool, typer.Option("--tflite", help="Write model.tflite.", show_default=False)] = False,
    savedmodel: Annotated[bool, typer.Option("--savedmodel", help="Write saved_model/.", show_default=False)] = False,
    quantize: Annotated[
        Literal["float16", "int8"] | None, typer.Option(help="Smaller numbers: model.float16.onnx, model.int8.tflite.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Class folders to verify with; default: the bundle's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the files go; default: the bundle.")] = None,
    opset: Annotated[int, typer.Option(min=13, max=18, help="ONNX operator set.")] = 18,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a .keras file: class names, one a line, in order.")
    ] = None,
    values: Annotated[
        Literal["0..255", "0..1", "-1..1"] | None, typer.Option(help="For a .keras file: what its first layer wants.")
    ] = None,
    output: Annotated[
        Literal["logits", "probabilities"] | None, typer.Option(help="For a .keras file: what its last layer gives.")
    ] = None,
    resize: Annotated[
        Literal["squash", "crop", "pad"], typer.Option(help="For a .keras file: how pictures are brought to size.")
    ] = "squash",
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

    The files take uint8 pictures and give probabilities; scaling, softmax and the class names are inside.
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


def adopt(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX image classifier from anywhere.")],
    preset: Annotated[
        str | None, typer.Option(help="imagenet, ultralytics, keras-tf, keras-torch or keras-caffe.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one a line; default: those in the file.")
    ] = None,
    image_size: Annotated[str | None, typer.Option(metavar="HxW", help="Where the graph leaves it open.")] = None,
    values: Annotated[
        Literal["0..255", "0..1", "-1..1"] | None, typer.Option(help="What it wants, before mean and std.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="M[,M,M]", help="Subtracted, one number or one a channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Divided by, one number or one a channel.")] = None,
    channels: Annotated[Literal["rgb", "bgr"] | None, typer.Option(help="Channel order; default: rgb.")] = None,
    layout: Annotated[Literal["nchw", "nhwc"] | None, typer.Option(help="Where the shape does not show it.")] = None,
    output: Annotated[
        Literal["logits", "probabilities"] | None, typer.Option(help="What its last operation gives.")
    ] = None,
    resize: Annotated[
        Literal["squash", "crop", "pad"] | None, typer.Option(help="How pictures are brought to size.")
    ] = None,
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"], typer.Option(help="What the new file is compared in.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: NAME.adopted.onnx beside it.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that toolkit did not write.", show_default=False)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write an ONNX classifier from elsewhere as one that infer can use: scaling, layout and softmax go into the file.

    The new file is compared with the original before it is kept.
    """
    from toolkit.adopting import adopt as adoption
    from toolkit.core.coerce import choice
    from toolkit.images.spec import Resize
    from toolkit.model_files.conventions import Channels, Output, TensorLayout, Values
    from toolkit.sessions.backend import Runtime

    options = adoption.AdoptOptions(
        preset=preset,
        labels=labels,
        image_size=_image_size(image_size),
        values=Values(values) if values else None,
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
        channels=Channels(channels) if channels else None,
        layout=TensorLayout(layout) if layout else None,
        output=Output(output) if output else None,
        resize=Resize(resize) if resize else None,
        runtime=choice(Runtime, runtime, "--runtime"),
        out=out,
        force=force,
    )
    result = adoption.adopt(file, options)
    console.say(
        f"{result.path}: {len(result.contract.labels)} classes, like the original on {result.n_pictures} pictures "
        f"(largest difference {result.difference:.1e}, same top-1 {result.agreement:.2%})"
    )


def _image_size(text: str | None) -> tuple[int, int] | None:
    from toolkit.core.errors import UsageError

    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UsageError(f"--image-size {text}: expected HEIGHTxWIDTH", hint="--image-size 224x224")
    return int(height), int(width)


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    from toolkit.core.errors import UsageError

    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--{name} {text}: expected numbers", hint=f"--{name} 0.5 or --{name} 0.5,0.5,0.5") from None


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx or .tflite file, a SavedModel, a bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)] = False,
    verbose: Verbose = False,
) -> None:
    """Print what a model file promises: its classes, the pictures it wants, its size and operations."""
    from toolkit.model_files.inspect import inspect as look

    found = look(model)
    if as_json:
        console.out(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_inspection(found)


def _say_result(result: ExportResult) -> None:
    rows = [("file", "size", "pictures", "largest difference", "same top-1", "accuracy (Keras)")]
    for artefact in result.artefacts:
        found = artefact.verification
        accuracy = f"{found.accuracy[0]:.4f} ({found.accuracy[1]:.4f})" if found.accuracy else "-"
        rows.append(
            (
                str(artefact.path),
                _size(artefact.size_bytes),
                f"{found.n_pictures:,}",
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
            f"{result.kit_path}: model, samples and clients; try: python {result.kit_path / 'classify.py'} PICTURE"
        )


def _print_inspection(found: Inspection) -> None:
    contract = found.contract
    rows = [("file", str(found.path)), ("format", found.format), ("size", f"{found.size_bytes:,} bytes")]
    rows.append(("SHA-256", found.sha256))
    if contract:
        spec = contract.preprocess
        rows += [
            ("recipe", contract.recipe or "-"),
            ("input", f"uint8 (N, {spec.height}, {spec.width}, {spec.channels}), {spec.colour}, 0..255"),
            ("resize", str(spec.resize)),
            ("output", f"float32 (N, {len(contract.labels)}), probabilities"),
            ("numbers", contract.quantization),
            ("weights of", contract.fingerprint or "-"),
        ]
        if contract.miss:
            rows.append(("MISS", contract.miss))
    else:
        rows.append(("contract", "none: infer cannot use this file; see toolkit adopt"))
    if found.weights:
        rows.append(("weights", ", ".join(f"{n:,} {name}" for name, n in found.weights.items())))
    if found.operations:
        rows.append(("layers", f"{found.layers} operations with weights"))
        rows.append(("operations", ", ".join(f"{n} {name}" for name, n in found.operations.items())))
    for name, value in rows:
        console.out(f"{name:<12}{value}")
    for at, label in enumerate(contract.labels if contract else ()):
        console.out(f"{'classes' if at == 0 else '':<12}{at:>4}  {label}")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
