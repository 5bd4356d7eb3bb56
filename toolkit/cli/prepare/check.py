"""`toolkit check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import (
    COLUMNS,
    SHOWN,
    Columns,
    CsvSafe,
    Labels,
    MaxMemory,
    MaxPixels,
    Quiet,
    Verbose,
    Workers,
    switch,
)
from toolkit.core.text import counted

if TYPE_CHECKING:
    from toolkit.checking.check import CheckResult


def check(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Class folders, an archive of them, or a split.")],
    labels: Labels = None,
    columns: Columns = COLUMNS,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Table of the findings (.csv).")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page of the findings with thumbnails (.html).")
    ] = None,
    fail_on: Annotated[str, typer.Option(metavar="KIND,…", help="Exit 6 where one of these is found; or any.")] = "",
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="MODEL", help="Also list suspected wrong labels: imagenet, or a bundle."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Each fold is judged by a classifier fitted to the others.")] = 5,
    near: Annotated[float, typer.Option(help="Correlation from which on images are near copies.")] = 0.95,
    dark: Annotated[float, typer.Option(help="Dark: 95 % of the grey levels lie below.")] = 60,
    bright: Annotated[float, typer.Option(help="Bright: 95 % of the grey levels lie above.")] = 170,
    blank: Annotated[float, typer.Option(help="Blank: less contrast.")] = 8,
    blurred: Annotated[float, typer.Option(help="Blurred: less sharpness.")] = 0.075,
    grey: Annotated[float, typer.Option(help="Grey: the channels differ by less.")] = 8,
    odd_size: Annotated[float, typer.Option(help="Odd size: this many times the usual side.")] = 4,
    odd_shape: Annotated[float, typer.Option(help="Odd shape: this many times longer than wide.")] = 3,
    few: Annotated[int, typer.Option(help="Few images: a class with fewer.")] = 20,
    imbalance: Annotated[float, typer.Option(help="Imbalance: this many times smaller than the largest.")] = 5,
    strict: Annotated[
        bool, switch("Fail on empty class folders and class names that differ in case only.", "--strict")
    ] = False,
    csv_safe: CsvSafe = False,
    force: Annotated[bool, switch("Replace files that toolkit did not write.", "--force")] = False,
    max_pixels: MaxPixels = 200_000_000,
    max_memory: MaxMemory = None,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look for broken files, copies, leaks, mislabelled, odd, dark, bright, blank and blurred images."""
    from toolkit.checking import check as checking
    from toolkit.checking.findings import parse_kinds
    from toolkit.checking.outputs import outputs
    from toolkit.data.label_table import LabelTables
    from toolkit.data.walk import require_read
    from toolkit.images.limits import Limits
    from toolkit.sessions.resolve import resolve_model

    kinds = parse_kinds(fail_on)
    options = checking.CheckOptions(
        labels=LabelTables.parse(labels or (), columns),
        near=near,
        dark=dark,
        bright=bright,
        blank=blank,
        blurred=blurred,
        grey=grey,
        odd_size=odd_size,
        odd_shape=odd_shape,
        few=few,
        imbalance=imbalance,
        max_pixels=max_pixels,
        max_memory=max_memory,
        workers=workers,
        strict=strict,
    )
    limits = Limits.of(max_pixels, max_memory)
    with outputs(out, html, force=force, csv_safe=csv_safe, limits=limits) as write:
        if model is not None:
            resolve_model(model)  # a model that is not there is said before all images are looked at
        result = checking.check(source, options, console.progress())
        if model is not None:
            result = _with_suspects(result, model, folds)
        write(result)
    _report_check(result, kinds)
    require_read([finding.path for finding in result.findings])


def _with_suspects(result: CheckResult, model: Path, folds: int) -> CheckResult:
    """The audit with the labels that `model` finds wrong, or with the reason why none is judged."""
    from dataclasses import replace

    from toolkit.checking.findings import SUSPECTED, Finding
    from toolkit.embedding.suspects import TooFewError, suspected_labels

    progress = console.progress()
    try:
        suspects = suspected_labels(result.source, model, folds=folds, progress=progress)
    except TooFewError as error:
        progress.warn(f"no label is judged by --model {model}: {error.message}; {error.hint}")
        return replace(result, not_judged=error.message)
    found = [
        Finding(
            SUSPECTED,
            suspect.path,
            value=f"{suspect.confidence - suspect.likelihood:.4f}",
            detail=f"labelled {suspect.label} ({suspect.likelihood:.0%}), looks like {suspect.suggestion} "
            f"({suspect.confidence:.0%})",
            label=suspect.label,
        )
        for suspect in suspects
    ]
    return replace(result, findings=[*result.findings, *found])


def _report_check(result: CheckResult, kinds: frozenset[str]) -> None:
    """The findings by kind on stdout, a summary on stderr, exit 6 where `kinds` were found."""
    from toolkit.checking.check import failing
    from toolkit.checking.findings import KINDS, SUSPECTED
    from toolkit.core.errors import GateError, InputError
    from toolkit.data.passed_over import PassedOver

    for kind, n in result.counts().items() if not console.Settings.quiet else ():
        console.out(f"{kind}: {n:,} ({KINDS[kind]})")
        found = [finding for finding in result.findings if finding.kind == kind]
        for finding in found[:SHOWN]:
            console.out(f"  {finding.path}: {finding.detail}")
        if n > SHOWN:
            console.out(f"  and {n - SHOWN:,} more")
    n_readable = sum(result.classes.values())
    readable = f"{counted(n_readable, 'readable image')} in {counted(len(result.classes), 'class')}"
    others = PassedOver.of(found.path for found in result.findings if found.kind == "not_an_image").by_suffix
    files = counted(result.n_files, "file") + (f" (not images: {others})" if others else "")
    console.say(f"{result.source.path}: {files}, {readable}, {counted(len(result.findings), 'finding')}")
    if result.not_judged and SUSPECTED in kinds:
        raise InputError(
            f"{result.not_judged}; so --fail-on {SUSPECTED} has nothing to go by", hint="leave it out of --fail-on"
        )
    if failed := failing(result, kinds):
        named = ", ".join(f"{n:,} {kind}" for kind, n in failed.items())
        raise GateError(f"{result.source.path}: found {named}", hint="the lines above name them; --out lists them all")
