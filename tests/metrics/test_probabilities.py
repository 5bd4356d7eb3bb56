"""Top-k, log loss, calibration, thresholds and curves against scikit-learn and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.metrics.pr_roc import ScoreStore
from toolkit.metrics.probabilistic import CALIBRATION_BINS, ProbabilityTally

Doubles = npt.NDArray[np.float64]


def scores(seed: int, n: int, n_classes: int, *, skill: float = 2.0) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Truth (N,) and probabilities (N, K) of a network that is right more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), truth] += skill
    exponent = np.exp(2 * logits)
    return truth, exponent / exponent.sum(axis=1, keepdims=True)


def tallied(truth: npt.NDArray[np.int64], probabilities: Doubles, batch: int = 37) -> ProbabilityTally:
    tally = ProbabilityTally(probabilities.shape[1])
    for start in range(0, len(truth), batch):
        tally.add(truth[start : start + batch], probabilities[start : start + batch])
    return tally


@pytest.mark.parametrize("n_classes", [2, 3, 10, 50])
def test_top_k_and_log_loss_equal_scikit_learn(n_classes: int) -> None:
    truth, probabilities = scores(n_classes, 800, n_classes)
    tally, every = tallied(truth, probabilities), list(range(n_classes))
    assert tally.n == 800
    expected = reference.log_loss(truth, probabilities, labels=every)
    assert tally.log_loss == pytest.approx(expected, abs=1e-9)
    assert tally.top_k_accuracy(1) == pytest.approx((probabilities.argmax(axis=1) == truth).mean(), abs=1e-9)
    for k in range(2, min(n_classes, 6)):
        expected = reference.top_k_accuracy_score(truth, probabilities, k=k, labels=every)
        assert tally.top_k_accuracy(k) == pytest.approx(expected, abs=1e-9)
    assert tally.top_k_accuracy(n_classes) == 1


def test_certain_and_wrong_is_a_large_but_finite_loss() -> None:
    tally = ProbabilityTally(2)
    tally.add([1], np.array([[1, 0]], np.float32))
    assert tally.log_loss == pytest.approx(-math.log(np.finfo(np.float32).eps))


def test_of_equal_probabilities_the_first_class_wins() -> None:
    """As the predicted class, which is the first of the largest."""
    tally = ProbabilityTally(4)
    tally.add([0, 1, 3], np.full((3, 4), 0.25))
    assert [tally.top_k_accuracy(k) for k in (1, 2, 3, 4)] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])


@pytest.mark.parametrize("seed", range(4))
def test_calibration_equals_the_plain_loop(seed: int) -> None:
    truth, probabilities = scores(seed, 500, 4)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    tally = tallied(truth, probabilities)
    error = 0.0
    for i, bar in enumerate(tally.calibration()):
        inside = (confidence > i / CALIBRATION_BINS) & (confidence <= (i + 1) / CALIBRATION_BINS)
        assert bar.n == inside.sum()
        if bar.n:
            assert bar.confidence == pytest.approx(confidence[inside].mean())
            assert bar.accuracy == pytest.approx(right[inside].mean())
            error += bar.n / 500 * abs(confidence[inside].mean() - right[inside].mean())
        else:
            assert math.isnan(bar.accuracy)
    assert tally.expected_calibration_error == pytest.approx(error, abs=1e-12)
    assert tally.mean_confidence == pytest.approx(confidence.mean())


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_equal_the_plain_loop(seed: int) -> None:
    truth, probabilities = scores(seed, 500, 3)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    table = tallied(truth, probabilities).thresholds()
    assert [row.min_confidence for row in table] == [i / 100 for i in range(100)]
    assert table[0].coverage == 1
    for row in table:
        answered = confidence >= row.min_confidence
        assert (row.answered, row.correct) == (answered.sum(), (answered & right).sum())
        assert row.coverage == answered.mean()
        if row.answered:
            assert row.accuracy == right[answered].mean()
            assert row.accuracy_interval[0] <= row.accuracy <= row.accuracy_interval[1]


def test_full_confidence_falls_into_the_last_bin() -> None:
    tally = ProbabilityTally(2)
    tally.add([0, 0], np.array([[1, 0], [1 + 1e-7, 0]]))
    assert tally.right[-1] == 2
    assert tally.calibration()[-1].n == 2


@pytest.mark.parametrize(("truth", "shape"), [([0], (1, 3)), ([0, 1], (1, 2)), ([2], (1, 2)), ([-1], (1, 2))])
def test_wrong_shapes_and_classes_are_refused(truth: list[int], shape: tuple[int, int]) -> None:
    tally = ProbabilityTally(2)
    with pytest.raises(ValueError, match=r"expected|outside"):
        tally.add(truth, np.full(shape, 0.5))
    assert tally.n == 0


def test_nothing_counted_is_undefined() -> None:
    tally = ProbabilityTally(3)
    tally.add([], np.zeros((0, 3)))
    figures = (tally.log_loss, tally.top_k_accuracy(2), tally.expected_calibration_error, tally.mean_confidence)
    assert all(map(math.isnan, figures))
    assert [math.isnan(c.roc_auc) for c in ScoreStore(3).curves()] == [True] * 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 3))
def test_areas_equal_scikit_learn(seed: int, n_classes: int, decimals: int) -> None:
    """Rounded scores have many ties, which is where areas go wrong."""
    truth, probabilities = scores(seed, 60, n_classes, skill=0.5)
    rounded = probabilities.round(decimals)
    store = ScoreStore(n_classes)
    store.add(truth[:20], rounded[:20])
    store.add(truth[20:], rounded[20:])
    for k, curves in enumerate(store.curves()):
        positive = truth == k
        if not positive.any():
            assert math.isnan(curves.average_precision)
            continue
        expected = reference.average_precision_score(positive, rounded[:, k])
        assert curves.average_precision == pytest.approx(expected, abs=1e-9)
        if not positive.all():
            expected = reference.roc_auc_score(positive, rounded[:, k])
            assert curves.roc_auc == pytest.approx(expected, abs=1e-9)


def test_sampled_curves_follow_scikit_learn() -> None:
    truth, probabilities = scores(3, 4000, 3, skill=0.7)
    store = ScoreStore(3)
    store.add(truth, probabilities.astype(np.float32))
    grid = np.linspace(0, 1, 201)
    curves = store.curves()[1]
    column = probabilities.astype(np.float32)[:, 1]
    false_rate, true_rate, _ = reference.roc_curve(truth == 1, column, drop_intermediate=False)
    np.testing.assert_allclose(curves.true_positive_rate[1:], np.interp(grid, false_rate, true_rate)[1:], atol=2e-3)
    precision, recall, _ = reference.precision_recall_curve(truth == 1, column)
    for at in (20, 100, 160, 200):
        expected = precision[recall >= grid[at] - 1e-12][-1]
        assert curves.precision[at] == pytest.approx(expected, abs=1e-6)


def test_store_gives_up_at_its_limit() -> None:
    store = ScoreStore(2, limit=10)
    store.add([0, 1], np.full((2, 2), 0.5))
    assert not store.full
    store.add([0, 1, 1, 0], np.full((4, 2), 0.5))
    assert store.full
    assert store.curves() == ()
