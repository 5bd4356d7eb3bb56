"""Models side by side, and the gates that CI and cron hang on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import fitted_network
from support.command_line import Cli

from toolkit.core.errors import UsageError
from toolkit.evaluation.compare import compare, paired_difference
from toolkit.evaluation.summary import Gate, parse_gates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    images = fitted_network.unpack(place)
    fitted_network.fit(place / "good.onnx", images)
    fitted_network.fit(place / "small.onnx", images, size=8, n=15, steps=40)
    return place


def test_side_by_side(folder: Path, tmp_path: Path, no_plots: None) -> None:
    images = folder / "images" / "fashion"
    good, small = compare(images, [folder / "good.onnx", folder / "small.onnx"], tmp_path)
    one, other = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("good", "small"))
    assert good.difference == 0
    assert small.changed == (one["label"] != other["label"]).sum() > 50
    right_one, right_other = one["label"] == one["truth"], other["label"] == other["truth"]
    assert small.lost == (right_one & ~right_other).sum()
    assert small.gained == (~right_one & right_other).sum()
    assert small.difference == pytest.approx(right_other.mean() - right_one.mean(), abs=1e-12)
    assert small.difference_interval[0] < small.difference < small.difference_interval[1] < 0
    table = pd.read_csv(tmp_path / "compare.csv", index_col="model")
    assert table.loc["small", "difference"] == pytest.approx(small.difference, abs=1e-9)
    assert table.loc["small", "size_bytes"] == (folder / "small.onnx").stat().st_size
    assert (table[["pictures_per_s", "run_ms"]] > 0).all(axis=None)
    changed = pd.read_csv(tmp_path / "changed.csv")
    assert len(changed) == small.changed
    assert (changed["good"] != changed["small"]).all()
    assert (tmp_path / "small" / "report.html").is_file()
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert 'href="small/report.html"' in text
    assert f'<data value="{table.loc["small", "accuracy"]}">' in text
    assert text.count('class="card"') == 60
    assert text.count("data:image/webp") == 60


def test_interval_covers_the_true_difference() -> None:
    """Of many pairs of models with known accuracies, about 95 % of the intervals hold the true difference."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(2000):
        gained, lost, _ = rng.multinomial(150, (0.05, 0.12, 0.83))
        _, low, high = paired_difference(int(gained), int(lost), 150)
        held += low <= -0.07 <= high
    assert 0.93 < held / 2000 < 0.98


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy=0.9", [Gate("accuracy", "", 0.9)]),
        ("accuracy=.9,recall:Dog=0.85", [Gate("accuracy", "", 0.9), Gate("recall", "Dog", 0.85)]),
        ("recall:a, b=c=1,f1:T-shirt/top=0.5", [Gate("recall", "a, b=c", 1), Gate("f1", "T-shirt/top", 0.5)]),
    ],
)
def test_gates_are_read(text: str, expected: list[Gate]) -> None:
    assert parse_gates(text) == expected


@pytest.mark.parametrize("text", ["accuracy", "accuracy=high", "=0.5", "accuracy=0.9,", "accuracy=0.9;f1=1", "0.9"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected METRIC=LIMIT"):
        parse_gates(text + " x" if text.endswith(",") else text)


@pytest.mark.parametrize(
    ("gate", "code", "said"),
    [
        ("accuracy=0.5,recall:Bag=0.5", 0, ""),
        ("accuracy=0.5,recall:Shirt=0.99", 6, "recall:Shirt is 0."),
        ("acuracy=0.5", 2, "did you mean 'accuracy'"),
        ("recall:Bagg=0.5", 2, "did you mean 'Bag'"),
        ("log_loss=0.5", 2, "there is no metric 'log_loss'"),
    ],
)
def test_gate_command(folder: Path, tmp_path: Path, no_plots: None, run: Cli, gate: str, code: int, said: str) -> None:
    done = run("evaluate", folder / "images" / "fashion", "--model", folder / "good.onnx", "--fail-under", gate)
    assert done.code == code, done.err
    assert said in done.err
    assert (tmp_path / "evaluation" / "report.html").is_file() == (code != 2)


def test_compare_command(folder: Path, tmp_path: Path, no_plots: None, run: Cli) -> None:
    models = [part for name in ("good", "small") for part in ("--model", folder / f"{name}.onnx")]
    done = run("evaluate", folder / "images" / "fashion", *models)
    assert done.code == 0, done.err
    assert (tmp_path / "evaluation" / "changed.csv").is_file()
    assert "small  accuracy" in done.err
    *_, good, small, last = done.err.splitlines()
    assert good.startswith("good: ")
    assert small.startswith("small: ")
    assert last == "2 models compared -> evaluation/compare.html"
