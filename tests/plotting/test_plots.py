"""Plots: drawn for few and many classes and for empty data, names as they are, and nothing global left behind."""

from __future__ import annotations

from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pytest

from toolkit.metrics.classification import compute_report
from toolkit.metrics.confusion import ConfusionMatrix
from toolkit.metrics.pr_roc import ScoreStore
from toolkit.metrics.probabilistic import ProbabilityTally
from toolkit.model_files.history import Epoch
from toolkit.plotting import evaluation as plots
from toolkit.plotting.confusion import MAX_NUMBERED, confusion, frequent_confusions
from toolkit.plotting.style import DARK, LIGHT, Theme, pixels, short, style


def answers(n_classes: int, n: int) -> tuple[ConfusionMatrix, ProbabilityTally, ScoreStore]:
    rng = np.random.default_rng(n_classes)
    truth = rng.integers(0, n_classes, n)
    raw = rng.random((n, n_classes)).astype(np.float32)
    raw[np.arange(n), truth] += 0.4
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    matrix = ConfusionMatrix(["$\\frac$", "고양이", *(f"class {i}" for i in range(2, n_classes))])
    tally, store = ProbabilityTally(n_classes), ScoreStore(n_classes)
    matrix.add(truth, probabilities.argmax(axis=1))
    tally.add(truth, probabilities)
    store.add(truth, probabilities)
    return matrix, tally, store


@pytest.mark.parametrize(("n_classes", "theme"), [(2, LIGHT), (12, DARK), (MAX_NUMBERED + 1, DARK), (200, LIGHT)])
def test_confusion_is_readable_at_every_size(n_classes: int, theme: Theme) -> None:
    matrix, _, _ = answers(n_classes, 40 * n_classes)
    with style(theme):
        figure = confusion(matrix, theme)
        image = pixels(figure)
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [short(label) for label in matrix.labels]
    in_pixels = axes.get_window_extent().height / n_classes
    assert in_pixels >= 9, "a class's row is at least as high as a small letter"
    words = {text.get_text() for text in (axes if n_classes <= MAX_NUMBERED else figure.axes[1]).texts}
    true, predicted, count = frequent_confusions(matrix, 1)[0]
    assert f"{count:,}" in words
    assert f"{100 * count / matrix.counts[true].sum():.0f} %" in words
    assert true != predicted
    background = np.array([int(theme.background[i : i + 2], 16) for i in (1, 3, 5)])
    assert (image[0, 0] == background).all()


@pytest.mark.parametrize("n_classes", [2, 60])
def test_every_plot_draws(n_classes: int) -> None:
    matrix, tally, store = answers(n_classes, 20 * n_classes)
    curves = store.curves()
    before = dict(mpl.rcParams)
    with style(LIGHT) as theme:
        figures = [
            plots.reliability(tally, theme),
            plots.confidence(tally, theme),
            plots.thresholds(tally, theme),
            plots.precision_recall(matrix.labels, curves, theme),
            plots.roc(matrix.labels, curves, theme),
            plots.class_bars(compute_report(matrix), theme),
            plots.training_curves(
                [Epoch(1, 1.0, 0.5, 1.1, 0.4, 2.0, 50.0), Epoch(2, 0.5, 0.8, 0.9, 0.6, 2.0, 50.0)], theme
            ),
        ]
        for figure in figures:
            assert pixels(figure).std() > 8
    assert dict(mpl.rcParams) == before
    colours: list[dict[str, Any]] = []
    lines: list[str] = []
    for figure in figures[3:5]:
        handles, named = cast(Any, figure.axes[0]).get_legend_handles_labels()
        assert len(named) <= plots.MAX_NAMED_CURVES + 1
        lines += named
        colours.append({text.partition("  ")[0]: line.get_color() for line, text in zip(handles, named, strict=True)})
    weakest = min(range(n_classes), key=lambda k: curves[k].average_precision)
    assert f"{short(matrix.labels[weakest])}  AP {curves[weakest].average_precision:.3f}" in lines
    assert f"{short(matrix.labels[weakest])}  AUC {curves[weakest].roc_auc:.3f}" in lines
    assert colours[0] == colours[1], "a class has one colour in every plot"


def test_every_colour_of_reliability_is_in_its_legend() -> None:
    """One bar is too sure, one too cautious: no pieces lie over each other."""
    tally = ProbabilityTally(2)
    tally.add([0] * 10, np.array([[0.62, 0.38]] * 10, np.float32))
    tally.add([0] * 5 + [1] * 5, np.array([[0.97, 0.03]] * 10, np.float32))
    with style(LIGHT) as theme:
        axes = plots.reliability(tally, theme).axes[0]
    drawn_bars: list[Any] = [bar for bar in cast(Any, axes.patches) if bar.get_height()]
    bars = [bar.get_bbox() for bar in drawn_bars]
    assert sorted((round(bar.y0, 2), round(bar.y1, 2)) for bar in bars) == [(0, 0.5), (0, 0.62), (0.5, 0.97), (0.62, 1)]
    drawn = {bar.get_facecolor() for bar in drawn_bars}
    assert len(drawn) == 3
    named = axes.get_legend_handles_labels()[0]
    assert drawn <= {bars.patches[0].get_facecolor() for bars in named if hasattr(bars, "patches")}


def test_nothing_to_draw_is_drawn() -> None:
    """All images unreadable: empty plots, no exception."""
    matrix, tally, store = ConfusionMatrix(["cat", "dog"]), ProbabilityTally(2), ScoreStore(2)
    matrix.add([0, 1], [-2, -2])
    with style(LIGHT) as theme:
        for figure in (
            confusion(matrix, theme),
            plots.reliability(tally, theme),
            plots.confidence(tally, theme),
            plots.thresholds(tally, theme),
            plots.precision_recall(matrix.labels, store.curves(), theme),
            plots.class_bars(compute_report(matrix), theme),
        ):
            assert pixels(figure).size


def test_of_very_many_classes_those_that_occur_are_drawn() -> None:
    matrix = ConfusionMatrix([f"class {i}" for i in range(1000)])
    matrix.add([7, 7, 500, 999], [7, 8, 500, 3])
    with style(LIGHT) as theme:
        figure = confusion(matrix, theme)
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"class {i}" for i in (3, 7, 8, 500, 999)]
    assert figure.axes[0].get_title(loc="left") == "Confusion: 2 of 4 right (5 of 1,000 classes)"
    assert max(figure.get_size_inches()) < 20
