"""`toolkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Quiet, Verbose


def train(
    data: Annotated[Path, typer.Argument(help="A split tree (train/ and validation/), or plain class folders.")],
    recipe: Annotated[str, typer.Option(help="A documented recipe (toolkit recipe list), or your own .toml file.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder.")] = Path("model"),
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Instead of the recipe's.")] = "",
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle, once the new one is finished.")] = False,
    cache_dir: Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")] = None,
    workers: Annotated[int, typer.Option(help="Decoding threads; 0: one per CPU.", min=0)] = 0,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs to train on; 0: the CPU.", min=0, show_default="all visible")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a documented network, or your own recipe, on folders of pictures."""
    from toolkit.training import train as training

    options = training.TrainOptions(
        recipe=recipe,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        image_size=training.image_size(image_size) if image_size else None,
        seed=seed,
        resume=resume,
        force=force,
        cache_dir=cache_dir,
        workers=workers,
        gpus=gpus,
    )
    try:
        result = training.train(data, options, console.progress())
    except KeyboardInterrupt:
        console.say(f"{out}: stopped; the same command with --resume goes on after the last finished epoch")
        raise
    summary = (
        f"{result.bundle.recipe_name}, {len(result.history)} epochs, epoch {result.kept_epoch} kept, "
        f"validation accuracy {result.accuracy:.4f}"
    )
    if not result.trained:
        console.say(f"{out}: finished already ({summary}); nothing done; to train longer: --epochs N --force")
        return
    left_out = f", {result.n_left_out:,} pictures left out (see data.csv)" if result.n_left_out else ""
    console.say(f"{out}: {summary}, {result.seconds:.0f} s{left_out}")
    console.suggest("toolkit", "export", str(out), "--onnx")
