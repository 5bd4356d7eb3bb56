"""The public Python interface: what the command line calls, with paths as text or `Path`.

Each function imports what it needs when it is called, so that `import toolkit` costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.coerce import given, path_text
from toolkit.core.coerce import path as as_path
from toolkit.core.errors import UsageError
from toolkit.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from toolkit.adopting.adopt import AdoptOptions, AdoptResult
    from toolkit.benchmark.bench import BenchResult
    from toolkit.checking.check import CheckOptions, CheckResult
    from toolkit.embedding.embed import EmbedResult
    from toolkit.evaluation.result import EvaluateOptions, Evaluation
    from toolkit.exporting.options import ExportOptions
    from toolkit.exporting.results import ExportResult
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import InferOptions
    from toolkit.inference.result import InferResult
    from toolkit.splitting.options import SplitOptions
    from toolkit.splitting.split import SplitResult
    from toolkit.training.options import TrainOptions
    from toolkit.training.train import TrainResult

StrPath = str | os.PathLike[str]


def _inputs(inputs: StrPath | Iterable[StrPath] | Inputs) -> Inputs:
    """One path or several, as `Inputs`.

    Raises:
        UsageError: something else, or none.
    """
    from toolkit.inference.inputs import Inputs

    if isinstance(inputs, Inputs):
        return inputs
    several = inputs if isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes)) else [inputs]
    paths = tuple(path_text(one, "inputs") for one in several)
    if not paths:
        raise UsageError("inputs: expected a path, or several; found none")
    return Inputs(paths=paths)


def split(source: StrPath, options: SplitOptions | None = None, *, progress: Progress = SILENT) -> SplitResult:
    """Split class folders, or an archive of them, into training and validation images.

    Raises:
        InputError: no such source, no class folders, or another split is in the way.
    """
    from toolkit.splitting.options import SplitOptions
    from toolkit.splitting.split import split as run

    return run(as_path(source, "source"), given(options, SplitOptions), progress)


def check(source: StrPath, options: CheckOptions | None = None, *, progress: Progress = SILENT) -> CheckResult:
    """Look for broken files, copies, leaks, mislabelled and odd images in class folders, an archive or a split tree.

    Raises:
        InputError: no such source, no class folders, or a damaged archive.
    """
    from toolkit.checking.check import CheckOptions
    from toolkit.checking.check import check as run

    return run(as_path(source, "source"), given(options, CheckOptions), progress)


def train(data: StrPath, options: TrainOptions | None = None, *, progress: Progress = SILENT) -> TrainResult:
    """Train a recipe on a split tree or on plain class folders; leaves a bundle. Loads TensorFlow.

    Raises:
        InputError: the data are missing, or their classes do not fit the recipe or each other.
        ModelError: the recipe is unknown or wrong.
        MachineError: TensorFlow is missing, or a batch needs more memory than there is.
    """
    from toolkit.training.options import TrainOptions
    from toolkit.training.train import train as run

    return run(as_path(data, "data"), given(options, TrainOptions) or TrainOptions(), progress)


def export(model: StrPath, options: ExportOptions, *, progress: Progress = SILENT) -> ExportResult:
    """Export a bundle or a `.keras` file, each artefact verified before it is kept. Loads TensorFlow.

    Raises:
        ModelError: no such model, or one that cannot be exported.
        MismatchError: an artefact does not compute what the model computes; it was not kept.
        MachineError: TensorFlow is missing.
    """
    from toolkit.exporting.export import export as run
    from toolkit.exporting.options import ExportOptions

    return run(as_path(model, "model"), given(options, ExportOptions) or ExportOptions(), progress)


def adopt(path: StrPath, options: AdoptOptions) -> AdoptResult:
    """Write an ONNX classifier from elsewhere as one that keeps the contract, compared with the original.

    Raises:
        ModelError: no ONNX file, a damaged one, or no classifier of images.
        UsageError: something about it is neither in the file nor in the options.
        MismatchError: the new file does not compute what the original computes; it was not kept.
    """
    from toolkit.adopting.adopt import AdoptOptions
    from toolkit.adopting.adopt import adopt as run

    return run(as_path(path, "path"), given(options, AdoptOptions) or AdoptOptions())


def infer(
    inputs: StrPath | Iterable[StrPath] | Inputs,
    out: StrPath,
    model: StrPath = "model",
    options: InferOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> InferResult:
    """Label files and folders into `out`: one row for every file.

    Args:
        inputs: a file or a folder, several of them, or `Inputs` with patterns or a shard.
        out: .csv, .jsonl or .parquet; with a slash at its end a folder of Parquet parts.
        model: a bundle, a .onnx or a .tflite file.
        options: how.
        progress: is told how far it is.

    Raises:
        InputError: an input is missing, or there is nothing to label.
        ModelError: no model, or one without a contract.
        LockedError: another run holds `out`.
        MachineError: CUDA was asked for and is not usable.
    """
    from toolkit.inference.distributed.part_names import with_parts
    from toolkit.inference.infer import infer as run
    from toolkit.inference.options import InferOptions

    options = with_parts(path_text(out, "out"), given(options, InferOptions) or InferOptions())
    return run(_inputs(inputs), Path(out), as_path(model, "model"), options, progress=progress)


def merge(parts: Iterable[StrPath], out: StrPath, *, force: bool = False, progress: Progress = SILENT) -> InferResult:
    """Put the results of all shards of one run together, byte for byte as the run over all inputs writes them.

    Args:
        parts: the result files of all shards, in any order and format.
        out: .csv, .jsonl or .parquet.
        force: replace a file that toolkit did not write.
        progress: hears of the rows.

    Raises:
        UsageError: `out` is one of the parts, or names no format.
        InputError: a shard is missing, there twice, damaged, or of another run; nothing is written.
        LockedError: another run holds `out`.
    """
    from toolkit.scaling.merge import merge as run

    if isinstance(parts, (str, bytes)) or not isinstance(parts, Iterable):
        raise UsageError(f"parts {parts!r:.60}: expected several paths")
    return run([as_path(part, "parts") for part in parts], as_path(out, "out"), force=force, progress=progress)


def embed(
    inputs: StrPath | Iterable[StrPath] | Inputs,
    out: StrPath,
    model: StrPath = "imagenet",
    options: InferOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> EmbedResult:
    """Write the features of files and folders (the network before its last layer) into `out`, one row for each file.

    Args:
        inputs: files and folders, or `Inputs`.
        out: .parquet, .npy or .csv.
        model: `imagenet`, a bundle, or an ONNX file.
        options: batch size, workers and the like.
        progress: hears of each batch.

    Raises:
        InputError: an input is missing or holds no image; `out` exists and toolkit did not write it.
        ModelError, MachineError: the model cannot be run.
        LockedError: another run holds `out`.
    """
    from toolkit.embedding.embed import embed as run
    from toolkit.inference.options import InferOptions

    checked = given(options, InferOptions)
    return run(_inputs(inputs), as_path(out, "out"), as_path(model, "model"), checked, progress=progress)


def evaluate(
    data: StrPath,
    model: StrPath = "model",
    out: StrPath = "evaluation",
    options: EvaluateOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> Evaluation:
    """Judge a model by labelled folders, and write report, confusion, plots and the page into the folder `out`.

    Raises:
        InputError: no such folder, no images, or none in a folder named like a class of the model.
        ModelError, MachineError: the model cannot be run.
    """
    from toolkit.evaluation.report import evaluate as run
    from toolkit.evaluation.result import EvaluateOptions

    places = as_path(data, "data"), as_path(model, "model"), as_path(out, "out")
    return run(*places, given(options, EvaluateOptions), progress)


def bench(
    model: StrPath = "model",
    images: StrPath | None = None,
    *,
    seconds: float = 45.0,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> BenchResult:
    """Measure how fast each installed way of running a model labels these images on this machine.

    Raises:
        UsageError: no images are named and the bundle knows none.
        InputError: no image there can be read.
        ModelError: no model file.
    """
    from toolkit.benchmark.bench import bench as run

    folder = as_path(images, "images") if images is not None else None
    return run(as_path(model, "model"), folder, seconds=seconds, workers=workers, progress=progress)
