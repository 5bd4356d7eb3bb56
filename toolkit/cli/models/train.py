"""`toolkit train`."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.completion import recipe_names
from toolkit.cli.options import COLUMNS, Columns, Labels, MaxMemory, Quiet, Verbose
from toolkit.core.errors import UsageError
from toolkit.core.text import counted

if TYPE_CHECKING:
    from toolkit.training.options import TrainOptions
    from toolkit.training.train import TrainResult


class Effort(StrEnum):
    """How much work a training without a recipe may take."""

    QUICK = "quick"
    NORMAL = "normal"
    BEST = "best"


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A split tree, class folders, images with a table of labels, or an archive of them."
        ),
    ],
    labels: Labels = None,
    columns: Columns = COLUMNS,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A recipe (toolkit recipe list), or your own .toml file; of several the best is kept.",
            autocompletion=recipe_names,
            show_default="transfer",
        ),
    ] = None,
    effort: Annotated[Effort, typer.Option(help="How much work it may take; chooses a recipe.")] = Effort.NORMAL,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder.")] = Path("model"),
    epochs: Annotated[int | None, typer.Option(help="Overrides the recipe.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Overrides the recipe.", min=1)] = None,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Overrides the recipe.")] = "",
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe.", min=0)] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the backbone's weights.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after the last finished epoch; with more --epochs, train longer.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="An empty class folder is an error.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle, once the new one is finished.")] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where decoded images and features are kept.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Decoding threads; 0: one per CPU.", min=0)] = 0,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs to train on; 0: the CPU.", min=0, show_default="all visible")
    ] = None,
    max_memory: MaxMemory = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Several recipes: start no other one after 90s, 20m or 2h.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train on folders of images: a network that has seen ImageNet, a documented one, or your own recipe."""
    from toolkit.data.label_table import LabelTables
    from toolkit.data.walk import require_read
    from toolkit.training import options as asked
    from toolkit.training import train as training

    options = asked.TrainOptions(
        labels=LabelTables.parse(labels or (), columns),
        strict=strict,
        recipe=recipe[0] if recipe and len(recipe) == 1 else None,
        effort=effort.value,
        weights=weights,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        image_size=asked.image_size(image_size) if image_size else None,
        seed=seed,
        resume=resume,
        force=force,
        cache_dir=cache_dir,
        workers=workers,
        max_memory=max_memory,
        gpus=gpus,
    )
    several = recipe is not None and len(recipe) > 1
    if time_budget is not None and not several:
        raise UsageError("--time-budget is for several recipes", hint="--recipe transfer --recipe flowers")
    try:
        with console.announced_stop():
            if recipe and several:
                _several(data, recipe, options, time_budget)
                return
            result = training.train(data, options, console.progress())
    except KeyboardInterrupt:
        console.say(f"{out}: stopped; the same command with --resume continues after the last finished epoch")
        raise
    validation = sum(result.bundle.data["validation"].values())
    summary = (
        f"{result.bundle.recipe_name}, {_course(result)}, "
        f"validation accuracy {result.accuracy:.4f} ({counted(validation, 'image')})"
    )
    if not result.trained:
        console.say(f"{out}: finished already ({summary}); nothing to do; --force trains again from the start")
    else:
        left_out = f", {counted(result.n_left_out, 'image')} left out (see data.csv)" if result.n_left_out else ""
        console.say(f"{out}: {summary}, {result.seconds:.0f} s{left_out}")
        console.suggest("toolkit", "export", str(out), "--onnx")
    require_read([row.path for row in result.bundle.rows()])


def _course(result: TrainResult) -> str:
    """How the training went, in a few words.

    >>> from types import SimpleNamespace as Some
    >>> epochs = [Some(stage="head"), Some(stage="head"), Some(stage="tuning")]
    >>> _course(Some(history=epochs, kept_epoch=3, bundle=Some(training={})))
    '3 epochs (2 head, 1 tuning), epoch 3 kept'
    """
    stages = Counter(epoch.stage for epoch in result.history)
    if result.bundle.training.get("head") == "closed form" and len(result.history) == 1:
        return "head in closed form"
    each = f" ({', '.join(f'{n} {stage}' for stage, n in stages.items())})" if len(stages) > 1 else ""
    return f"{counted(len(result.history), 'epoch')}{each}, epoch {result.kept_epoch} kept"


def _several(data: Path, recipes: list[str], options: TrainOptions, time_budget: str | None) -> None:
    """Train each, print the table, keep the best."""
    from toolkit.cli.tables import columns
    from toolkit.training.several import seconds_of, train_several

    budget = seconds_of(time_budget) if time_budget is not None else None
    found = train_several(data, recipes, options, budget_s=budget, progress=console.progress())
    rows = [["recipe", "accuracy", "95 % interval", "parameters", "size", "images/s", "training"]]
    for trial in found.trials:
        low, high = trial.interval
        rows.append(
            [
                trial.recipe,
                f"{trial.accuracy:.4f}",
                f"{low:.4f} to {high:.4f}",
                f"{trial.n_parameters:,}",
                f"{trial.size_bytes / 1e6:.1f} MB",
                f"{trial.images_per_s:,.0f}",
                f"{trial.seconds:,.0f} s",
            ]
        )
    for line in columns(rows):
        console.out(line)
    if found.skipped:
        console.say(f"not trained, the time was up: {', '.join(found.skipped)}")
    best = found.trials[0]
    console.say(
        f"{options.out}: {best.recipe} kept, validation accuracy {best.accuracy:.4f} "
        f"({counted(best.n_validation, 'image')})"
    )
    console.suggest("toolkit", "export", str(options.out), "--onnx")
