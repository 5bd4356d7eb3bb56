"""Commands: embed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvSafe, Log, Quiet, Verbose
from toolkit.core.text import counted

if TYPE_CHECKING:
    from toolkit.embedding.embed import EmbedResult
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import InferOptions


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files, folders, - for a list on stdin; or a file made by embed."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the features go: .parquet, .npy or .csv.")
    ] = None,
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="MODEL", help="imagenet, a bundle, or an .onnx file.")
    ] = Path("imagenet"),
    like: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Print the images of INPUT that are most like this one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of them.")] = 20,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only files of folders that match, such as '*.png'.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Not these files or folders, such as 'raw'.")
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="The list on stdin is separated by NUL.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in a batch.", show_default="from the model")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one per processor")] = None,
    csv_safe: CsvSafe = False,
    log_format: Log = console.LogFormat.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compute features: for each image the numbers that a network sees in it, before its last layer.

    They are for searching, clustering and classifiers of your own: like images have like features. With --like, the
    nearest images are printed, best first, with their similarity (1 is the same).
    """
    from toolkit.core.errors import UsageError
    from toolkit.embedding.embed import embed as run
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import InferOptions

    if out is None and like is None:
        raise UsageError("nothing to do: neither --out nor --like is given", hint="--out features.npy")
    files = Inputs(
        paths=tuple(inputs),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        null=null,
        stdin=sys.stdin.buffer if sys.stdin is not None else None,
    )
    options = InferOptions(batch_size=batch_size, workers=workers, csv_safe=csv_safe)
    if out is not None:
        with console.StopSignals() as signals:
            result = run(files, out, model, options, progress=console.progress(), stop=signals.event)
        console.say(summary(result))
        if not result.complete:
            raise typer.Exit(signals.exit_code)
        result.check()
    if like is not None:
        _print_nearest(like, files, out, model, options, top)


def _print_nearest(like: Path, files: Inputs, out: Path | None, model: Path, options: InferOptions, top: int) -> None:
    """The images most like `like`: of the file just written, of one written before, or of `files`."""
    from toolkit.core.errors import InputError
    from toolkit.data.passed_over import PassedOver
    from toolkit.embedding.embed import features_fingerprint, features_of
    from toolkit.embedding.feature_files import SUFFIXES, read_features
    from toolkit.embedding.feature_session import FeatureSession
    from toolkit.embedding.neighbours import features_of_image, nearest
    from toolkit.inference.infer import nothing_found

    session = FeatureSession(model, threads=1)
    wanted = features_of_image(like, session)
    counts = PassedOver()
    saved = out or (Path(files.paths[0]) if len(files.paths) == 1 else None)
    if saved is not None and saved.suffix.lower() in SUFFIXES and saved.is_file():
        source, rows = str(saved), read_features(saved)
    else:
        files.check()
        saved, source, rows = None, "the inputs", features_of(files.samples(counts), session, options)
    found = nearest(wanted, rows, top, source=source, model=features_fingerprint(session), besides=like)
    if not found.n_files:
        empty = InputError(f"{source}: no image in it to compare with", hint="toolkit embed photos/ --like IMAGE")
        raise nothing_found(files, counts) if saved is None else empty
    for neighbour in found.neighbours:
        console.out(f"{neighbour.similarity:.4f}  {neighbour.path}")
    failed = f", {found.n_errors:,} failed" if found.n_errors else ""
    passed = f"; {counts}" if str(counts) else ""
    console.say(f"{counted(found.n_files, 'file')} compared with {like}{failed}{passed}")
    found.check(source)


def summary(result: EmbedResult) -> str:
    """The one line that a run leaves in a log."""
    if not result.complete:
        return f"stopped after {counted(result.n_files, 'file')}, which are kept; the same command continues from there"
    parts = [f"{result.n_features:,} features each", f"{result.n_errors:,} failed"]
    parts += [f"{result.n_continued:,} of them by an earlier run"] if result.n_continued else []
    parts += [str(result.counts)] if str(result.counts) else []
    return f"{counted(result.n_files, 'file')}: {', '.join(parts)} -> {result.out}"
