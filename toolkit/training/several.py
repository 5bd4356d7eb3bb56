"""Several recipes on the same data: one table, and the best bundle is kept."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, ToolkitError, UsageError
from toolkit.core.files import regular, write_csv
from toolkit.core.locking import lock
from toolkit.core.ownership import claim_folder
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import ascii_word
from toolkit.data.cache import default_cache_dir
from toolkit.data.unpack import unpacked
from toolkit.metrics.classification import wilson
from toolkit.model_files.bundle import Bundle, load_bundle
from toolkit.training import workspace
from toolkit.training.options import TrainOptions, with_options
from toolkit.training.recipes.recipe import Recipe
from toolkit.training.train import TrainResult, check_weights, fitting, train

TRIALS_CSV: Final = "trials.csv"
"""In the bundle that is kept: the table of all recipes."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One recipe on the data.

    Attributes:
        recipe: its name.
        accuracy: on the validation subset, 0..1.
        interval: 95 % (Wilson) interval of it.
        n_validation: images of the validation subset.
        n_parameters: of the network.
        size_bytes: of `model.keras`.
        images_per_s: Keras' own prediction on this machine, on ready batches.
        seconds: of the whole training, decoding included.
    """

    recipe: str
    accuracy: float
    interval: tuple[float, float]
    n_validation: int
    n_parameters: int
    size_bytes: int
    images_per_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """What several trainings gave.

    Attributes:
        bundle: the best one, at its place.
        trials: one for each recipe that was trained, best first.
        skipped: recipes that the time did not suffice for.
    """

    bundle: Bundle
    trials: tuple[Trial, ...]
    skipped: tuple[str, ...]


def seconds_of(text: str) -> float:
    """Seconds of `90s`, `20m` or `1.5h`.

    >>> seconds_of("20m")
    1200.0

    Raises:
        UsageError: none of these.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", text.strip())
    if not match or float(match[1]) == 0:
        raise UsageError(f"--time-budget {text}: expected a time such as 90s, 20m or 1.5h")
    return float(match[1]) * _UNITS[match[2]]


def train_several(
    data: Path,
    recipes: Sequence[str | Path | Recipe],
    options: TrainOptions,
    *,
    budget_s: float | None = None,
    progress: Progress = SILENT,
) -> Trials:
    """Train each recipe on the same subsets, and keep the bundle with the highest accuracy at `options.out`.

    Decoded images are shared by all recipes of one input size. A training that was stopped is continued by the same
    call with `resume`; what is finished then is not trained again, and where all is, nothing is done.

    Args:
        data: as `train` takes it.
        recipes: two or more, each once.
        options: for all of them; its `recipe` is not used.
        budget_s: once so many seconds have passed, no further training is begun; the first one always is.
        progress: hears of each step.

    Raises:
        UsageError: a recipe is named twice.
        InputError: the folder `<out>.trials`, where they are trained and which is removed, holds something else, or
            unfinished trainings and neither `resume` nor `force` is set.
        LockedError: another training writes to `options.out`.
        ToolkitError: as `train`.
    """
    began = time.perf_counter()
    named = [with_options(replace(options, recipe=recipe)) for recipe in recipes]
    names = [recipe.name for recipe in named]
    if len(set(names)) != len(names) or len(names) < 2:
        raise UsageError(f"--recipe {' '.join(names)}: expected two or more recipes, each once")
    first = named[0].train
    out = workspace.place_of(options.out)
    place = out.with_name(out.name + ".trials")
    results: dict[str, TrainResult] = {}
    with lock(out):
        workspace.recover(out)
        if options.resume and not options.force and (done := _finished(out, place, names)):
            return done
        workspace.check_out(out, force=options.force)
        claim_folder(place, _inside(place), _are_trials, force=None)
        if _inside(place) and not options.resume and not options.force:
            raise InputError(
                f"{place}: unfinished trainings are here", hint="--resume continues them, --force begins again"
            )
        root = unpacked(data, options.cache_dir or default_cache_dir(), progress)
        for recipe in named:  # before hours are spent on the first
            check_weights(recipe)
            fitting(root, recipe, options, SILENT)
        place.mkdir(exist_ok=True)
        for number, recipe in enumerate(named, 1):
            if results and budget_s is not None and time.perf_counter() - began >= budget_s:
                break
            progress.line(f"recipe {recipe.name} ({number} of {len(named)})")
            # The same images are held out for all of them.
            equal = replace(recipe, train=replace(recipe.train, validation=first.validation, seed=first.seed))
            folder = place / _folder(recipe.name)
            one = replace(options, recipe=equal, seed=None, out=folder, weights=None)
            try:
                results[recipe.name] = train(data, one, progress)
            except ToolkitError as error:
                if results:
                    error.hint += f"; recipe {recipe.name!r} failed, what is finished ({', '.join(results)}) lies in "
                    error.hint += (
                        f"{place}, and the same command with --resume goes on from there, also without that recipe"
                    )
                elif not _inside(place):
                    place.rmdir()
                raise
        trials = sorted(
            (_trial(name, result) for name, result in results.items()),
            key=lambda trial: (-trial.accuracy, trial.size_bytes),
        )
        best = place / _folder(trials[0].recipe)
        write_trials(best / TRIALS_CSV, trials)
        workspace.publish(best, out)
        shutil.rmtree(place)
    skipped = tuple(name for name in names if name not in results)
    return Trials(bundle=load_bundle(out), trials=tuple(trials), skipped=skipped)


def _folder(recipe: str) -> str:
    """Where a recipe is trained: a name of its own on every disk, whatever the recipe is called.

    >>> _folder("../Größe 1"), _folder("flowers")
    ('___Gr__e_1-87c3bf15cdf0', 'flowers-846d124b6785')
    """
    return f"{ascii_word(recipe[:40])}-{hashlib.sha256(recipe.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _finished(out: Path, place: Path, names: Sequence[str]) -> Trials | None:
    """What an earlier run came to, if it was of these recipes; what it was killed before it removed goes."""
    trials = _read_trials(out / TRIALS_CSV)
    if not trials or not {trial.recipe for trial in trials} <= set(names):
        return None
    if place.is_dir() and _are_trials(place):
        shutil.rmtree(place)
    skipped = tuple(name for name in names if name not in {trial.recipe for trial in trials})
    return Trials(bundle=load_bundle(out), trials=tuple(trials), skipped=skipped)


def _read_trials(path: Path) -> list[Trial]:
    """The table of an earlier run; [] where there is none that can be read."""
    try:
        with regular(path).open(newline="", encoding="utf-8") as file:
            return [
                Trial(
                    recipe=row["recipe"],
                    accuracy=float(row["accuracy"]),
                    interval=(float(row["low"]), float(row["high"])),
                    n_validation=int(row["n_validation"]),
                    n_parameters=int(row["parameters"]),
                    size_bytes=int(row["size_bytes"]),
                    images_per_s=float(row["images_per_s"]),
                    seconds=float(row["seconds"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []


def _inside(place: Path) -> list[str]:
    return os.listdir(place) if place.is_dir() else []


def _are_trials(place: Path) -> bool:
    """Whether a folder holds nothing but what trainings in it wrote, so that it may be removed."""
    return all(workspace.is_of_training(path) for path in place.iterdir())


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write the table, best first."""
    columns = [
        "recipe",
        "accuracy",
        "low",
        "high",
        "n_validation",
        "parameters",
        "size_bytes",
        "images_per_s",
        "seconds",
    ]
    rows = (
        [
            trial.recipe,
            *(f"{value:.4f}" for value in (trial.accuracy, *trial.interval)),
            *(trial.n_validation, trial.n_parameters, trial.size_bytes),
            *(f"{value:.1f}" for value in (trial.images_per_s, trial.seconds)),
        ]
        for trial in trials
    )
    write_csv(path, columns, rows)


def _trial(name: str, result: TrainResult) -> Trial:
    bundle = result.bundle
    n = sum(bundle.data["validation"].values())
    return Trial(
        recipe=name,
        accuracy=result.accuracy,
        interval=wilson(round(result.accuracy * n), n),
        n_validation=n,
        n_parameters=bundle.n_parameters,
        size_bytes=os.stat(bundle.keras_path).st_size,
        images_per_s=_images_per_s(bundle),
        seconds=sum(epoch.seconds for epoch in result.history) if not result.trained else result.seconds,
    )


def _images_per_s(bundle: Bundle) -> float:
    """Keras' rate on the bundle's check images, the best of three rounds."""
    from toolkit.training.networks.keras_model import prediction_rate

    images, _ = bundle.check()
    return prediction_rate(bundle.keras_path, images)
