"""Commands: bench."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from toolkit.benchmark.bench import BenchResult, Speed


def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A bundle, or a .onnx or .tflite file.")] = Path(
        "model"
    ),
    images: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGES", help="A folder of images.", show_default="those the bundle was trained on"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Total measuring time, roughly.")] = 45,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one per processor")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure how fast a model labels your images on this machine, with every runtime and precision that is installed.

    Says how many images a night takes, and which options to use.
    """
    from toolkit.benchmark.bench import bench as run

    result = run(model, images, seconds=seconds, workers=workers, progress=console.progress())
    if json_:
        import json

        console.out(json.dumps(fields(result), indent=1), document=True)
        return
    for line in lines(result):
        console.out(line)


def lines(result: BenchResult) -> list[str]:
    """The table, and what to use, in words."""
    width = max(len(speed.way.name) for speed in result.speeds)
    found = [
        f"{result.n_images:,} images, {result.workers} workers; reading and decoding alone "
        f"{result.decode_per_s:,.0f} images/s",
        "",
        f"{'':<{width}}  {'network':>9}  {'in all':>9}  {'of bound':>8}  {'agreement':>9}  {'first answer':>12}  "
        f"{'memory':>7}",
    ]
    found += [_row(speed, width) for speed in result.speeds]
    found += ["", f"images/s; agreement: the same best class as {result.reference} on {result.n_checked:,} images"]
    best = result.best
    if best is None:
        return [*found, "no way answers like the reference, so none is recommended"]
    return [
        *found,
        f"best: toolkit infer IMAGES --out labels.csv {' '.join(best.way.arguments)}",
        f"      about {best.per_night:,.0f} images per night (8 h)",
    ]


def _row(speed: Speed, width: int) -> str:
    name = f"{speed.way.name:<{width}}"
    if speed.error:
        return f"{name}  {speed.error}"
    memory = f"{speed.peak_memory_bytes / 1e6:,.0f} MB" if speed.peak_memory_bytes is not None else "-"
    return (
        f"{name}  {speed.network_per_s:>9,.0f}  {speed.end_to_end_per_s:>9,.0f}  "
        f"{speed.end_to_end_per_s / speed.bound_per_s:>8.2f}  {speed.agreement:>9.1%}  "
        f"{speed.first_answer_s:>10.2f} s  {memory:>7}"
    )


def fields(result: BenchResult) -> dict[str, object]:
    """The same for a script; what could not be measured is null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    best = result.best
    return {
        "images": result.n_images,
        "workers": result.workers,
        "decode_per_s": result.decode_per_s,
        "reference": result.reference,
        "checked": result.n_checked,
        "ways": [
            {
                "name": speed.way.name,
                "arguments": list(speed.way.arguments),
                "network_per_s": number(speed.network_per_s),
                "end_to_end_per_s": number(speed.end_to_end_per_s),
                "bound_per_s": number(speed.bound_per_s),
                "images_per_night": number(speed.per_night),
                "agreement": number(speed.agreement),
                "largest_difference": number(speed.largest_difference),
                "first_answer_s": number(speed.first_answer_s),
                "peak_memory_bytes": speed.peak_memory_bytes,
                "error": speed.error,
            }
            for speed in result.speeds
        ],
        "best": best.way.name if best is not None else None,
    }
