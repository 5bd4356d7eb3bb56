"""`toolkit adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    pass


def adopt(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX image classifier from anywhere.")],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="imagenet, ultralytics, keras-tf, keras-torch or keras-caffe.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one a line.", show_default="those in the file")
    ] = None,
    image_size: Annotated[str | None, typer.Option(metavar="HxW", help="If the graph does not fix it.")] = None,
    values: Annotated[
        Literal["0..255", "0..1", "-1..1"] | None, typer.Option(help="Value range, before mean and std.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="M[,M,M]", help="Subtracted, one number or one a channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Divided by, one number or one a channel.")] = None,
    channels: Annotated[Literal["rgb", "bgr"] | None, typer.Option(help="Channel order.", show_default="rgb")] = None,
    layout: Annotated[Literal["nchw", "nhwc"] | None, typer.Option(help="If the shape does not show it.")] = None,
    output: Annotated[
        Literal["logits", "probabilities"] | None, typer.Option(help="What the last operation outputs.")
    ] = None,
    resize: Annotated[
        Literal["squash", "crop", "pad"] | None, typer.Option(help="How images become that size.")
    ] = None,
    crop_fraction: Annotated[
        float, typer.Option(help="With crop: how much of the middle is used, as timm's crop_pct.")
    ] = 1.0,
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"], typer.Option(help="What runs the comparison.")
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the new file goes.", show_default="NAME.adopted.onnx beside it"),
    ] = None,
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
        crop_fraction=crop_fraction,
        runtime=choice(Runtime, runtime, "--runtime"),
        out=out,
        force=force,
    )
    result = adoption.adopt(file, options)
    console.say(
        f"{result.path}: {len(result.contract.labels)} classes, like the original on {result.n_images} images "
        f"(largest difference {result.difference:.1e}, same top-1 {result.agreement:.2%})"
    )
    for note in result.notes:
        console.say(f"note: {note}")


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
