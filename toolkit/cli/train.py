"""`toolkit train`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import MaxMemory, Quiet, Verbose


class Effort(StrEnum):
    """How much work a training without a recipe may take."""

    QUICK = "quick"
    NORMAL = "normal"
    BEST = "best"


def train(
    data: Annotated[Path, typer.Argument(help="A split tree (train/ and validation/), or plain class folders.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe (toolkit recipe list), or your own .toml file.", show_default="transfer"),
    ] = None,
    effort: Annotated[Effort, typer.Option(help="How much work it may take; chooses a recipe.")] = Effort.NORMAL,
    out: Annotated[Path, typer.Option(help="The bundle's folder.")] = Path("model"),
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=1)] = None,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Instead of the recipe's.")] = "",
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=0)] = None,
    weights: Annotated[Path | None, typer.Option(help="A file with the backbone's weights.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last finished epoch; with more --epochs, train longer.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle, once the new one is finished.")] = False,
    cache_dir: Annotated[Path | None, typer.Option(help="Where decoded images and features are kept.")] = None,
    workers: Annotated[int, typer.Option(help="Decoding threads; 0: one per CPU.", min=0)] = 0,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs to train on; 0: the CPU.", min=0, show_default="all visible")
    ] = None,
    max_memory: MaxMemory = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train on folders of images: a network that has seen ImageNet, a documented one, or your own recipe."""
    from toolkit.training import train as training

    options = training.TrainOptions(
        recipe=recipe,
        effort=effort.value,
        weights=weights,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        image_size=training.image_size(image_size) if image_size else None,
        seed=seed,
        resume=resume,
        force=force,
        cache_dir=cache_dir,
        workers=workers,
        max_memory=max_memory,
        gpus=gpus,
    )
    try:
        result = training.train(data, options, console.progress())
    except KeyboardInterrupt:
        console.say(f"{out}: stopped; the same command with --resume goes on after the last finished epoch")
        raise
    validation = sum(result.bundle.data["validation"].values())
    summary = (
        f"{result.bundle.recipe_name}, {len(result.history)} epochs, epoch {result.kept_epoch} kept, "
        f"validation accuracy {result.accuracy:.4f} ({validation:,} images)"
    )
    if not result.trained:
        console.say(f"{out}: finished already ({summary}); nothing done; to train anew: --force")
        return
    left_out = f", {result.n_left_out:,} images left out (see data.csv)" if result.n_left_out else ""
    console.say(f"{out}: {summary}, {result.seconds:.0f} s{left_out}")
    console.suggest("toolkit", "export", str(out), "--onnx")
