"""Metrics -> plots. Each function draws one figure within `plot_style.style(theme)`; none of them writes a file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.core.text import counted
from toolkit.metrics.classification import ClassFigures, Report
from toolkit.metrics.pr_roc import GRID, ClassCurves
from toolkit.metrics.probabilistic import ProbabilityTally
from toolkit.model_files.history import Epoch
from toolkit.plotting.style import Theme, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BARS: Final = 40
"""Classes in the plot of bars; of more, the weakest are shown."""

MAX_NAMED_CURVES: Final = 6
"""Classes whose curve has a colour and a name; of more, those with the least average precision have."""


def reliability(tally: ProbabilityTally, theme: Theme) -> Figure:
    """How often answers of each confidence are right, above how many there are."""
    from matplotlib.ticker import PercentFormatter

    figure, _ = new_figure(7.2, 5.4)
    figure.clear()
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bars = [bar for bar in tally.calibration() if bar.n]
    centre = np.array([(bar.low + bar.high) / 2 for bar in bars])
    width = 1 / len(tally.calibration()) * 0.92
    accuracy, said = np.array([(bar.accuracy, bar.confidence) for bar in bars]).reshape(-1, 2).T
    lower = np.minimum(accuracy, said)
    # Three pieces that never lie over each other: each colour is one entry of the legend.
    above.bar(centre, lower, width, color=theme.right, label="accuracy")
    for there, colour, label in (
        (accuracy > said, theme.right, "accuracy above the confidence: too cautious"),
        (accuracy < said, theme.wrong, "confidence above the accuracy: too sure"),
    ):
        if there.any():
            gap = np.abs(accuracy - said)[there]
            above.bar(centre[there], gap, width, bottom=lower[there], color=colour, alpha=0.35, lw=0, label=label)
    above.plot([0, 1], [0, 1], color=theme.muted, linewidth=1.2, linestyle=(0, (4, 3)), label="perfectly calibrated")
    above.set(ylim=(0, 1), xlim=(0, 1), ylabel="accuracy")
    above.set_title(f"Reliability: expected calibration error {tally.expected_calibration_error:.3f}")
    figure.legend(loc="outside lower left", ncols=2, fontsize=9)  # among the bars it would hide some
    below.bar(centre, [bar.n for bar in bars], width, color=theme.muted)
    below.set(xlabel="confidence of the answer", ylabel="images")
    for axes in (above, below):
        axes.grid(visible=False, axis="x")
    above.yaxis.set_major_formatter(PercentFormatter(1, 0))
    below.xaxis.set_major_formatter(PercentFormatter(1, 0))
    below.yaxis.set_major_locator(_few_whole_numbers())
    return figure


def confidence(tally: ProbabilityTally, theme: Theme) -> Figure:
    """How confident the right and the wrong answers are."""
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_figure(7.2, 4.0)
    right, wrong = (counts.reshape(-1, 2).sum(axis=1) for counts in (tally.right, tally.wrong))
    left = np.arange(len(right)) / len(right)
    width = 1 / len(right) * 0.9
    axes.bar(left, right, width, align="edge", color=theme.right, label=f"right ({int(right.sum()):,})")
    axes.bar(left, wrong, width, bottom=right, align="edge", color=theme.wrong, label=f"wrong ({int(wrong.sum()):,})")
    axes.set(xlim=(0, 1), xlabel="confidence of the answer", ylabel="images")
    axes.set_title("Confidence of right and wrong answers")
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.yaxis.set_major_locator(_few_whole_numbers())
    axes.legend(loc="upper left")
    return figure


def thresholds(tally: ProbabilityTally, theme: Theme) -> Figure:
    """What each `--min-confidence` would leave answered, and how many of those answers would be right."""
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_figure(7.2, 4.0)
    table = [row for row in tally.thresholds() if row.answered]
    limit = [row.min_confidence for row in table]
    low, high = np.array([row.accuracy_interval for row in table]).reshape(-1, 2).T
    axes.fill_between(limit, low, high, color=theme.right, alpha=0.18, linewidth=0)
    axes.plot(limit, [row.accuracy for row in table], color=theme.right, label="accuracy of the answers")
    axes.plot(limit, [row.coverage for row in table], color=theme.third, label="coverage: share that is answered")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="--min-confidence")
    axes.set_title("Answer only when sure: accuracy against coverage")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0))
    axes.xaxis.set_major_formatter("{x:.1f}")
    axes.legend(loc="lower left")
    return figure


def precision_recall(labels: tuple[str, ...], curves: tuple[ClassCurves, ...], theme: Theme) -> Figure:
    """The precision-recall curve of each class against all others."""
    figure, axes = _square("recall", "precision", "Precision against recall, class by class")
    rows = [(c.average_precision, GRID, c.precision) for c in curves]
    _curves(axes, labels, rows, "AP", _colours(curves, theme), theme)
    _legend(axes, "lower left")
    return figure


def roc(labels: tuple[str, ...], curves: tuple[ClassCurves, ...], theme: Theme) -> Figure:
    """The ROC curve of each class against all others."""
    figure, axes = _square("false positive rate", "true positive rate", "ROC, class by class")
    axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=1.2, linestyle=(0, (4, 3)))
    rows = [(c.roc_auc, np.append(0, GRID), np.append(0, c.true_positive_rate)) for c in curves]
    _curves(axes, labels, rows, "AUC", _colours(curves, theme), theme)
    _legend(axes, "lower right")
    return figure


def _square(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_figure(6.4, 5.8)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x, ylabel=y)
    axes.set_title(title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0))
    return figure, axes


def _legend(axes: Axes, place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=9)


Curve = tuple[float, npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]


def _colours(curves: tuple[ClassCurves, ...], theme: Theme) -> dict[int, str]:
    """Class -> colour, the same in every plot: of all classes where they are few, else of those with the least AP."""
    defined = sorted((c.average_precision, i) for i, c in enumerate(curves) if not np.isnan(c.average_precision))
    return dict(zip(sorted(i for _, i in defined[:MAX_NAMED_CURVES]), theme.cycle, strict=False))


def _curves(
    axes: Axes, labels: tuple[str, ...], rows: Sequence[Curve], area: str, colours: dict[int, str], theme: Theme
) -> None:
    """Draw (area, x, y) of each class: those with a colour are named, over the crowd of the others."""
    defined = [i for i, row in enumerate(rows) if not np.isnan(row[0])]
    others = [i for i in defined if i not in colours]
    for i in others:
        axes.plot(rows[i][1], rows[i][2], color=theme.muted, linewidth=0.8, alpha=0.35)
    if others:
        axes.plot([], [], color=theme.muted, linewidth=0.8, label=f"{counted(len(others), 'class')} with a higher AP")
    for i in defined:
        if i in colours:
            label = f"{short(labels[i])}  {area} {rows[i][0]:.3f}"
            axes.plot(rows[i][1], rows[i][2], color=colours[i], label=label, zorder=3 - rows[i][0])  # weakest on top


def class_bars(report: Report, theme: Theme) -> Figure:
    """Precision and recall of each class with their Wilson intervals, the weakest F1 first."""
    from matplotlib.ticker import PercentFormatter

    occurring = sorted((c for c in report.classes if not np.isnan(c.f1)), key=lambda c: c.f1)
    shown = occurring[:MAX_BARS]
    figure, axes = new_figure(7.2, max(2.6, 1.3 + 0.34 * len(shown)))
    place = np.arange(len(shown))
    _bars(axes, place - 0.18, shown, "precision", theme.third, theme)
    _bars(axes, place + 0.18, shown, "recall", theme.right, theme)
    names = [f"{short(c.label)}  ({c.support:,})" for c in shown]
    axes.set_yticks(place, names, color=theme.text)
    axes.set(xlim=(0, 1.005), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    weakest = f"the {len(shown)} weakest of {len(occurring)} classes" if len(shown) < len(occurring) else "by class"
    axes.set_title(f"Precision and recall, {weakest}", loc="left")
    figure.legend(loc="outside lower right", ncols=2)
    return figure


def _bars(
    axes: Axes, place: npt.NDArray[np.floating[Any]], shown: list[ClassFigures], name: str, colour: str, theme: Theme
) -> None:
    values = np.array([getattr(c, name) for c in shown])
    limits = np.array([getattr(c, f"{name}_interval") for c in shown]).reshape(-1, 2)
    spread = np.nan_to_num(np.abs(limits.T - values))
    error = {"ecolor": theme.text, "elinewidth": 1.1}
    axes.barh(place, values, 0.34, color=colour, label=name, xerr=spread, error_kw=error)


def training_curves(epochs: Sequence[Epoch], theme: Theme) -> Figure:
    """Loss and accuracy by epoch, training and validation; a dotted line where a stage of the training begins."""
    from matplotlib.ticker import MaxNLocator

    figure, _ = new_figure(7.2, 3.6)
    figure.clear()
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for prefix, colour, label in (("", theme.right, "training"), ("val_", theme.wrong, "validation")):
            values = [getattr(epoch, prefix + name) for epoch in epochs]
            axes.plot([epoch.epoch for epoch in epochs], values, color=colour, label=label, marker="o", markersize=3)
        for before, after in itertools.pairwise(epochs):
            if before.stage != after.stage:
                axes.axvline(before.epoch + 0.5, color=theme.muted, linewidth=1, linestyle=":")
                axes.annotate(
                    f" {after.stage}", (before.epoch + 0.5, 0), xycoords=("data", "axes fraction"), va="bottom"
                )
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(epochs) == 1:  # a head in closed form
            axes.set_xlim(0, 2)
            axes.set_ylim(0, max(1.0, *axes.get_ylim()))
            axes.set_xticks([1])
        axes.legend()
    return figure


def _few_whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)
