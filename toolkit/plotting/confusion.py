"""The confusion matrix as a plot, of up to 200 classes; of more, of those 200 that occur most.

Up to `MAX_NUMBERED` classes every cell holds its count and its rate. Of more the cells are too small to be read: the
rates are colours there, and the most frequent confusions stand beside them in words, with count and rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.plotting.style import Theme, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NUMBERED: Final = 20
"""Classes up to which every cell holds its numbers."""

MAX_DRAWN: Final = 200
"""Classes that are drawn at most."""

LINE_INCHES: Final = 0.24
"""Height of one of the most frequent confusions in words."""

Rates = npt.NDArray[np.float64]


def confusion(matrix: ConfusionMatrix, theme: Theme) -> Figure:
    """Draw `matrix`: rows are the truth, columns the answer, colours the share of the row."""
    support = matrix.counts.sum(axis=1, keepdims=True)
    every: Rates = np.divide(matrix.counts, support, out=np.zeros(matrix.counts.shape), where=support > 0)
    drawn = _drawn(matrix)
    n_classes, labels = len(drawn), tuple(matrix.labels[i] for i in drawn)
    counts, rates = matrix.counts[np.ix_(drawn, drawn)], every[np.ix_(drawn, drawn)]
    numbered = n_classes <= MAX_NUMBERED
    cell = 0.72 if n_classes <= 8 else 0.58 if numbered else max(0.085, 7 / n_classes)
    side = max(2.0, cell * n_classes)
    figure, axes = new_figure(side + 2.2 + (0 if numbered else 3.4), side + 1.7)
    if not numbered:
        figure.clear()
        axes, words = figure.subplots(1, 2, width_ratios=[side + 2.0, 3.2])
        _words(words, matrix, every, int(side / LINE_INCHES), theme)
    axes.imshow(_colours(rates, theme), interpolation="nearest", aspect="equal")
    _lines(axes, n_classes, theme)
    _ticks(axes, labels, cell, theme)
    if numbered:
        _numbers(axes, counts, rates, theme)
    axes.set(xlabel="predicted", ylabel="true")
    right, total = int(np.trace(matrix.counts)), int(matrix.counts.sum())
    some = f" ({n_classes} of {len(matrix.labels):,} classes)" if n_classes < len(matrix.labels) else ""
    axes.set_title(f"Confusion: {right:,} of {total:,} right{some}")
    return figure


def _drawn(matrix: ConfusionMatrix) -> list[int]:
    """The classes that are drawn, in order: all, or of too many those that are most often the truth or the answer."""
    if len(matrix.labels) <= MAX_DRAWN:
        return list(range(len(matrix.labels)))
    often = matrix.counts.sum(axis=0) + matrix.counts.sum(axis=1)
    most = np.argsort(-often, kind="stable")[:MAX_DRAWN]
    found = [int(i) for i in most if often[i]]
    return sorted(found if len(found) >= 2 else most[:2].tolist())


def frequent_confusions(matrix: ConfusionMatrix, limit: int) -> list[tuple[int, int, int]]:
    """The most frequent confusions: (true class, predicted class, count), largest first.

    >>> matrix = ConfusionMatrix(["cat", "dog"])
    >>> matrix.add([0, 0, 1], [1, 1, 0])
    >>> frequent_confusions(matrix, 5)
    [(0, 1, 2), (1, 0, 1)]
    """
    wrong = matrix.counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit].tolist()
    pairs = [(*divmod(at, len(matrix.labels)), int(wrong.flat[at])) for at in order]
    return [pair for pair in pairs if pair[2]]


def _colours(rates: Rates, theme: Theme) -> npt.NDArray[np.float64]:
    """(K, K, 3): from the background to blue on the diagonal, to red off it. Roots, so that small rates are seen."""
    from matplotlib.colors import to_rgb

    background = np.array(to_rgb(theme.background))
    strength = np.sqrt(rates)[..., None]
    diagonal = np.eye(len(rates), dtype=bool)[..., None]
    target = np.where(diagonal, to_rgb(theme.right), to_rgb(theme.wrong))
    colours: npt.NDArray[np.float64] = background + (target - background) * strength
    return colours


def _lines(axes: Axes, n_classes: int, theme: Theme) -> None:
    axes.grid(visible=False)
    edges = np.arange(n_classes + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(visible=True, which="minor", color=theme.grid, linewidth=min(0.8, 12 / n_classes))
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ticks(axes: Axes, labels: tuple[str, ...], cell: float, theme: Theme) -> None:
    names = [short(label, 24 if cell > 0.12 else 20) for label in labels]
    size = min(10.0, cell * 72 * 0.8)
    upright = cell < 0.5 or max(map(len, names)) * size * 0.6 > cell * 72 * 0.95
    axes.set_yticks(range(len(names)), names, fontsize=size, color=theme.text)
    axes.set_xticks(range(len(names)), names, fontsize=size, color=theme.text)
    if upright:
        steep = cell < 0.2
        for label in axes.get_xticklabels():
            label.set(rotation=90 if steep else 40, ha="right", rotation_mode="anchor")
            label.set_verticalalignment("center" if steep else "top")


def _numbers(axes: Axes, counts: npt.NDArray[np.int64], rates: Rates, theme: Theme) -> None:
    large = len(counts) <= 8
    for (i, j), count in np.ndenumerate(counts):
        if not count:
            axes.text(j, i, "0", ha="center", va="center", color=theme.grid, fontsize=8)
            continue
        strong = np.sqrt(rates[i, j]) > 0.62
        colour = theme.background if strong else theme.text
        rate = f"{100 * rates[i, j]:.0f} %" if rates[i, j] >= 0.01 else "<1 %"
        axes.text(
            j,
            i - 0.13,
            f"{count:,}",
            ha="center",
            va="center",
            color=colour,
            fontsize=11 if large else 8,
            weight="bold",
        )
        axes.text(j, i + 0.24, rate, ha="center", va="center", color=colour, fontsize=8 if large else 6)


def _words(axes: Axes, matrix: ConfusionMatrix, rates: Rates, n_lines: int, theme: Theme) -> None:
    """The most frequent confusions as lines of text: count, rate, classes."""
    axes.axis("off")
    axes.set_title("Most frequent confusions")
    for line, (i, j, count) in enumerate(frequent_confusions(matrix, n_lines)):
        columns = (f"{count:,}", f"{100 * rates[i, j]:.0f} %", f"{short(matrix.labels[i])} → {short(matrix.labels[j])}")
        for x, text in zip((0.12, 0.26, 0.3), columns, strict=True):
            axes.text(
                x,
                1 - (line + 0.5) / n_lines,
                text,
                transform=axes.transAxes,
                ha="left" if x == 0.3 else "right",
                va="center",
                fontsize=8.5,
                color=theme.text if x == 0.3 else theme.wrong,
            )
