"""Labelled folders + model files -> a folder of reports."""

from __future__ import annotations

from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.evaluation.evaluate import EvaluateOptions, Evaluation, run
from toolkit.evaluation.report_files import PREDICTIONS_CSV, write_files
from toolkit.evaluation.report_page import PAGE, write_page
from toolkit.evaluation.report_plots import write_plots


def evaluate(
    data: Path,
    model: Path,
    out: Path,
    options: EvaluateOptions | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate one model on labelled folders, and write every report into the folder `out`.

    Args:
        data: a folder with one folder of pictures per class, named like the model's classes; or a split tree, whose
            held-out part is used.
        model: a bundle, a .onnx or a .tflite file.
        out: made where it is missing; reports of an earlier run are replaced, each when the new one is whole.
        options: how.
        progress: is told how far it is.

    Raises:
        InputError: no such folder, no pictures, or none in a folder named like a class of the model.
        ModelError, MachineError: the model cannot be run.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{printable(str(out))}: expected a folder for the reports, found a file", hint="see --out")
    evaluation = run(data, model, out / PREDICTIONS_CSV, options, progress)
    write_files(evaluation, out)
    write_plots(evaluation, out)
    write_page(evaluation, out / PAGE)
    return evaluation
