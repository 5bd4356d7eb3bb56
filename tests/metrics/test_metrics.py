"""The figures against scikit-learn, and the files they are written to."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.metrics.classification import compute_report, wilson
from toolkit.metrics.confusion import ERROR, UNSURE, ConfusionMatrix, mistaken_for, taken_for
from toolkit.metrics.csv_files import digits, write_confusion_csv, write_report_csv

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")


def names(n: int) -> list[str]:
    return [f"class {i}" for i in range(n)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """K, truth (N,), predicted (N,): classes may be missing on either side."""
    n_classes = draw(st.integers(2, 7))
    rows = draw(st.lists(st.tuples(*[st.integers(0, n_classes - 1)] * 2), min_size=1, max_size=60))
    return n_classes, [t for t, _ in rows], [p for _, p in rows]


@settings(max_examples=150, deadline=None)
@given(answers())
def test_figures_equal_scikit_learn(case: tuple[int, list[int], list[int]]) -> None:
    n_classes, truth, predicted = case
    confusion = ConfusionMatrix(names(n_classes))
    confusion.add(truth, predicted)
    figures = compute_report(confusion)
    every = list(range(n_classes))
    assert confusion.counts.tolist() == reference.confusion_matrix(truth, predicted, labels=every).tolist()

    precision, recall, f1, support = reference.precision_recall_fscore_support(
        truth, predicted, labels=every, zero_division=0
    )
    for i, row in enumerate(figures.classes):
        assert row.support == support[i]
        if i in truth or i in predicted:
            np.testing.assert_allclose((row.precision, row.recall, row.f1), (precision[i], recall[i], f1[i]), atol=1e-9)
        else:
            assert math.isnan(row.precision)
            assert math.isnan(row.recall)
            assert math.isnan(row.f1)
    for name, average in (("macro", figures.macro), ("weighted", figures.weighted)):
        expected = reference.precision_recall_fscore_support(truth, predicted, average=name, zero_division=0)[:3]
        np.testing.assert_allclose((average.precision, average.recall, average.f1), expected, atol=1e-9)

    assert figures.accuracy == pytest.approx(reference.accuracy_score(truth, predicted), abs=1e-9)
    recalls = [r for r, n in zip(recall, support, strict=True) if n]
    assert figures.balanced_accuracy == pytest.approx(np.mean(recalls), abs=1e-9)
    if len({*truth, *predicted}) > 1:
        mcc = reference.matthews_corrcoef(truth, predicted)
        assert figures.matthews_correlation == pytest.approx(mcc, abs=1e-9)
        assert figures.cohen_kappa == pytest.approx(reference.cohen_kappa_score(truth, predicted), abs=1e-9)
    else:
        assert figures.matthews_correlation == 0
        assert math.isnan(figures.cohen_kappa)


def test_balanced_accuracy_equals_scikit_learn(rng: np.random.Generator) -> None:
    truth, predicted = rng.integers(0, 9, 5000), rng.integers(0, 9, 5000)
    confusion = ConfusionMatrix(names(9))
    confusion.add(truth, predicted)
    expected = reference.balanced_accuracy_score(truth, predicted)
    assert compute_report(confusion).balanced_accuracy == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_batches_add_up(rng: np.random.Generator) -> None:
    truth, predicted = rng.integers(0, 5, 1000), rng.integers(-2, 5, 1000)
    whole, parts, rows = (ConfusionMatrix(names(5)) for _ in range(3))
    whole.add(truth, predicted)
    for start in range(0, 1000, 77):
        parts.add(truth[start : start + 77], predicted[start : start + 77])
    for t, p in zip(truth.tolist(), predicted.tolist(), strict=True):
        status = {UNSURE: "unsure", ERROR: "error"}.get(p, "ok")
        assert rows.add_row(truth=names(5)[t], label=names(5)[p] if p >= 0 else "", status=status)
    assert compute_report(whole) == compute_report(parts) == compute_report(rows)


def test_no_answer_is_counted_beside_the_matrix() -> None:
    confusion = ConfusionMatrix(["cat", "dog"])
    confusion.add([0, 0, 0, 1, 1], [0, UNSURE, UNSURE, 1, ERROR])
    figures = compute_report(confusion)
    assert (figures.support, figures.unsure, figures.errors) == (2, 2, 1)
    assert figures.accuracy == 1
    assert figures.coverage == 0.5
    assert (figures.classes[0].unsure, figures.classes[1].errors) == (2, 1)


def test_foreign_truth_is_not_counted() -> None:
    confusion = ConfusionMatrix(["cat", "dog"])
    assert not confusion.add_row(truth="", label="cat", status="ok")
    assert not confusion.add_row(truth="bird", label="cat", status="ok")
    assert confusion.counts.sum() == 0


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([0, 2], [0, 0]), ([-1], [0]), ([0], [2]), ([0], [-3]), ([0, 1], [0])],
)
def test_wrong_indices_are_refused_whole(truth: list[int], predicted: list[int]) -> None:
    confusion = ConfusionMatrix(["cat", "dog"])
    with pytest.raises(ValueError, match=r"outside|must both be"):
        confusion.add(truth, predicted)
    assert confusion.counts.sum() == 0


def test_empty_matrix_has_no_figures() -> None:
    confusion = ConfusionMatrix(["cat", "dog"])
    confusion.add([], [])
    figures = compute_report(confusion)
    assert figures.support == 0
    assert all(map(math.isnan, (figures.accuracy, figures.macro.f1, figures.cohen_kappa, figures.coverage)))


def test_wilson_against_published_values() -> None:
    """Newcombe (1998), table I: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), expected in published.items():
        assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)
    assert wilson(20, 20)[1] == 1
    assert all(map(math.isnan, wilson(0, 0)))


def test_report_csv_holds_the_figures(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = ["cat", "dog, big", 'the "third"', "고양이", "never seen"]
    confusion = ConfusionMatrix(labels)
    confusion.add(rng.integers(0, 4, 500), rng.integers(-2, 4, 500))
    figures = compute_report(confusion)
    write_report_csv(figures, tmp_path / "report.csv")
    table = pd.read_csv(tmp_path / "report.csv")
    classes = table[table["kind"] == "class"]
    assert classes["class"].tolist() == labels
    assert classes["support"].tolist() == [c.support for c in figures.classes]
    np.testing.assert_allclose(classes["f1"], [c.f1 for c in figures.classes], atol=1e-10)
    assert classes["precision"].isna().tolist() == [False] * 4 + [True]
    singles = table[table["kind"] == "figure"].set_index("class")["value"]
    assert singles["accuracy"] == pytest.approx(figures.accuracy, abs=1e-10)
    assert singles["matthews_correlation"] == pytest.approx(figures.matthews_correlation, abs=1e-10)
    averages = table[table["kind"] == "average"].set_index("class")
    assert averages.loc["macro avg", "recall"] == pytest.approx(figures.macro.recall, abs=1e-10)


def test_confusion_csv_holds_counts_and_summary(tmp_path: Path) -> None:
    confusion = ConfusionMatrix(["cat", "dog", "fox\udce9"])
    confusion.add([0] * 9 + [1] * 5 + [2] * 4, [0, 0, 0, 1, 1, 1, 2, UNSURE, ERROR, 1, 1, 1, 1, 0, 2, 2, 2, 0])
    write_confusion_csv(confusion, tmp_path / "confusion.csv")
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    summary = ["(unsure)", "(error)", "(support)", "(taken for)", "(mistaken for it)"]
    assert rows[0] == ["truth", "cat", "dog", "fox\\xe9", *summary]
    assert rows[1] == ["cat", "3", "3", "1", "1", "1", "7", "dog 3; fox\\xe9 1", "dog 1; fox\\xe9 1"]
    assert rows[2] == ["dog", "1", "4", "0", "0", "0", "5", "cat 1", "cat 3"]
    assert (taken_for(confusion, 2), mistaken_for(confusion, 2)) == ([(0, 1)], [(0, 1)])


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.csv"
    confusion = ConfusionMatrix(["cat", "dog"])
    write_report_csv(compute_report(confusion), path)
    before = path.read_bytes()

    def fail(_value: float) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.metrics.csv_files.digits", fail)
    with pytest.raises(OSError, match="No space"):
        write_report_csv(compute_report(confusion), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.csv"]


def test_digits_are_the_shortest_ten() -> None:
    assert [digits(x) for x in (0.0, 0.1, 1 / 3, 1.0)] == ["0.0", "0.1", "0.3333333333", "1.0"]
