"""Labelled folders + model files -> a folder of reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.core.progress import SILENT, Progress
from toolkit.evaluation.evaluate import run
from toolkit.evaluation.report_files import PREDICTIONS_CSV, write_files
from toolkit.evaluation.report_folder import REPORT_NAMES, report_folder
from toolkit.evaluation.report_page import PAGE, write_page
from toolkit.evaluation.report_plots import write_plots
from toolkit.evaluation.result import EvaluateOptions, Evaluation
from toolkit.images.limits import Limits
from toolkit.inference.result_table import ResultRow


def evaluate(
    data: Path,
    model: Path,
    out: Path,
    options: EvaluateOptions | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate one model on labelled folders, and write every report into the folder `out`.

    Args:
        data: a folder with one folder of images per class, named like the model's classes; or a split tree, whose
            held-out subset is used.
        model: a bundle, a .onnx or a .tflite file.
        out: made where it is missing; reports of an earlier run are replaced, all at once when the new ones are whole.
        options: how.
        progress: is told how far it is.

    Raises:
        InputError: no such folder, no images, or none in a folder named like a class of the model; or `out` holds
            files of these names that no evaluation wrote.
        ModelError, MachineError: the model cannot be run.
        LockedError: another run is writing `out`.
    """
    options = options or EvaluateOptions()
    with report_folder(out, REPORT_NAMES, force=options.force) as folder:
        return write_reports(data, model, folder, options, progress)


def write_reports(
    data: Path,
    model: Path,
    folder: Path,
    options: EvaluateOptions,
    progress: Progress = SILENT,
    on_rows: Callable[[list[ResultRow]], object] | None = None,
) -> Evaluation:
    """As `evaluate`, into a folder that holds nothing else and that nobody reads yet.

    Args:
        on_rows: is given the rows, some at a time, in their order.
    """
    evaluation = run(data, model, folder / PREDICTIONS_CSV, options, progress, on_rows)
    write_files(evaluation, folder)
    write_plots(evaluation, folder)
    write_page(evaluation, folder / PAGE, limits=Limits.of(options.max_pixels, options.max_memory))
    return evaluation
