"""An evaluation -> its plots, each with a name and the words that stand for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.errors import ModelError
from toolkit.evaluation.report_files import number
from toolkit.evaluation.result import Evaluation
from toolkit.evaluation.summary import overall
from toolkit.model_files.bundle import BUNDLE_JSON, HISTORY_CSV
from toolkit.model_files.history import Epoch, read_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toolkit.plotting.style import Theme


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot.

    Attributes:
        name: of its file, without the suffix.
        alt: what it shows, in words, for people who cannot see it.
        figure: the plot.
    """

    name: str
    alt: str
    figure: Figure


def plots(evaluation: Evaluation, theme: Theme) -> Iterator[Plot]:
    """Draw every plot, within `plot_style.style(theme)`, one after the other."""
    from toolkit.plotting import evaluation as draw
    from toolkit.plotting.confusion import confusion

    report, tally, labels = evaluation.report, evaluation.probabilities, evaluation.labels
    rates = f"accuracy {number(report.accuracy)}, {len(labels)} classes"
    yield Plot(name="confusion", alt=f"Confusion matrix, {rates}", figure=confusion(evaluation.confusion, theme))
    yield Plot(name="classes", alt="Precision and recall of each class", figure=draw.class_bars(report, theme))
    error = number(tally.expected_calibration_error)
    alt = f"Reliability diagram, expected calibration error {error}"
    yield Plot(name="reliability", alt=alt, figure=draw.reliability(tally, theme))
    alt = f"Histogram of confidence, mean {number(tally.mean_confidence)}"
    yield Plot(name="confidence", alt=alt, figure=draw.confidence(tally, theme))
    alt = "Accuracy and coverage for each limit of confidence; the table holds the numbers"
    yield Plot(name="thresholds", alt=alt, figure=draw.thresholds(tally, theme))
    if evaluation.curves:
        whole = overall(evaluation)
        alt = f"Precision-recall curves, mean average precision {number(whole['macro_average_precision'])}"
        figure = draw.precision_recall(labels, evaluation.curves, theme)
        yield Plot(name="precision_recall", alt=alt, figure=figure)
        alt = f"ROC curves, mean area {number(whole['macro_roc_auc'])}"
        yield Plot(name="roc", alt=alt, figure=draw.roc(labels, evaluation.curves, theme))
    history = training_history(evaluation.model.path)
    if history:
        alt = f"Accuracy and loss over {len(history)} epochs of training"
        yield Plot(name="training", alt=alt, figure=draw.training_curves(history, theme))


def write_plots(evaluation: Evaluation, out: Path) -> None:
    """Write every plot into the folder `out` as PNG."""
    from toolkit.plotting.style import LIGHT, save_png, style

    with style(LIGHT) as theme:
        for plot in plots(evaluation, theme):
            save_png(plot.figure, out / f"{plot.name}.png")


def training_history(model: Path) -> tuple[Epoch, ...]:
    """The epochs in `history.csv` where `model` lies in a bundle that has a readable one; () otherwise."""
    if not (model.parent / BUNDLE_JSON).is_file():
        return ()
    with suppress(ModelError):
        return read_history(model.parent / HISTORY_CSV)
    return ()
