"""`evaluate` on real images: figures against scikit-learn, files against each other, and against `infer`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from support import fitted_network, onnx_networks
from support.command_line import run_cli

from toolkit.core.errors import InputError
from toolkit.core.progress import SilentProgress
from toolkit.data.passed_over import PassedOver
from toolkit.evaluation.evaluate import held_out
from toolkit.evaluation.report import evaluate
from toolkit.evaluation.report_files import classification_report
from toolkit.evaluation.result import EvaluateOptions, Evaluation
from toolkit.evaluation.summary import overall, per_class
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import predict
from toolkit.sessions.open_session import open_session

PLOTS = {"confusion", "classes", "reliability", "confidence", "thresholds", "precision_recall", "roc"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted_network.unpack(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def model(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted_network.fit(tmp_path_factory.mktemp("model") / "model.onnx", images)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def evaluation(images: Path, model: Path, out: Path) -> Evaluation:
    return evaluate(images, model, out)


@pytest.fixture(scope="module")
def answers(images: Path, model: Path) -> tuple[list[str], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Truth (N,) by the folder's name, and probabilities (N, K), without any of the code under test."""
    samples = list(Inputs(paths=(str(images),)).samples(PassedOver()))
    truth = [sample.path.split("/")[-2] for sample in samples]
    found = [p.probabilities for p in predict(samples, open_session(model, threads=1))]
    return truth, np.stack([p for p in found if p is not None]).astype(np.float64)


def test_figures_equal_scikit_learn(
    evaluation: Evaluation,
    answers: tuple[list[str], np.ndarray[tuple[int, int], np.dtype[np.float64]]],
) -> None:
    names, probabilities = answers
    labels = list(evaluation.labels)
    truth, predicted = np.array([labels.index(name) for name in names]), probabilities.argmax(axis=1)
    figures = overall(evaluation)
    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted), abs=1e-9)
    assert 0.6 < figures["accuracy"] < 0.95
    assert figures["cohen_kappa"] == pytest.approx(reference.cohen_kappa_score(truth, predicted), abs=1e-9)
    expected = reference.top_k_accuracy_score(truth, probabilities, k=3)
    assert figures["top_3_accuracy"] == pytest.approx(expected, abs=1e-9)
    eps = float(np.finfo(np.float32).eps)
    likely = np.clip(probabilities[np.arange(len(truth)), truth], eps, 1 - eps)
    assert figures["log_loss"] == pytest.approx(-np.log(likely).mean(), abs=1e-9)
    areas = [reference.roc_auc_score(truth == k, probabilities[:, k]) for k in range(10)]
    np.testing.assert_allclose([row["roc_auc"] for row in per_class(evaluation)], areas, atol=1e-6)
    areas = [reference.average_precision_score(truth == k, probabilities[:, k]) for k in range(10)]
    np.testing.assert_allclose([row["average_precision"] for row in per_class(evaluation)], areas, atol=1e-6)
    expected_text = reference.classification_report(truth, predicted, target_names=labels, digits=4)
    assert classification_report(evaluation.report).split("\n") == expected_text.rstrip("\n").split("\n")


def test_every_file_holds_the_same_figures(evaluation: Evaluation, out: Path) -> None:
    content = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    table = pd.read_csv(out / "report.csv")
    singles = table[table["kind"] == "figure"].set_index("class")["value"].to_dict()
    assert singles == {name: content["figures"][name] for name in singles}
    classes = table[table["kind"] == "class"]
    for name in ("precision", "recall", "f1", "support"):
        assert classes[name].tolist() == [row[name] for row in content["classes"]]
    text = (out / "report.txt").read_text(encoding="utf-8")
    assert f"{content['figures']['accuracy']:.4f}" in text
    assert f"{content['figures']['expected_calibration_error']:.4f}" in text
    rows = pd.read_csv(out / "predictions.csv")
    assert (rows["label"] == rows["truth"]).mean() == pytest.approx(content["figures"]["accuracy"], abs=1e-9)
    counts = pd.read_csv(out / "confusion.csv", index_col="truth")[list(evaluation.labels)].to_numpy()
    assert counts.trace() / counts.sum() == pytest.approx(content["figures"]["accuracy"], abs=1e-9)
    limits = pd.read_csv(out / "thresholds.csv")
    assert limits["accuracy"][0] == content["figures"]["accuracy"]
    assert limits["answered"][0] == content["data"]["answered"] == 2000


def test_every_plot_is_a_image(evaluation: Evaluation, out: Path) -> None:
    assert evaluation.report.support
    assert {path.stem for path in out.glob("*.png")} == PLOTS
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("min_confidence", [0.0, 0.7])
def test_infer_writes_the_same_report_and_rows(
    images: Path, model: Path, tmp_path: Path, no_plots: None, min_confidence: float
) -> None:
    data = tmp_path / "data"
    shutil.copytree(images, data)
    classes = sorted(path for path in data.iterdir() if path.is_dir())
    (classes[3] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (classes[4] / "empty.png").write_bytes(b"")
    (data / "Umbrella").mkdir()
    shutil.copy(next(classes[0].iterdir()), data / "Umbrella" / "1.png")
    (data / "notes.txt").write_text("no image")

    evaluation = evaluate(data, model, tmp_path / "reports", EvaluateOptions(min_confidence=min_confidence))
    infer(Inputs(paths=(str(data),)), tmp_path / "labels.csv", model, InferOptions(min_confidence=min_confidence))
    for one, other in (("report", "labels.report"), ("confusion", "labels.confusion"), ("predictions", "labels")):
        assert (tmp_path / "reports" / f"{one}.csv").read_bytes() == (tmp_path / f"{other}.csv").read_bytes()

    assert evaluation.data.extra == {"Umbrella": 1}
    assert evaluation.data.passed_over.others == 1  # the notes
    assert evaluation.data.n_failures == evaluation.report.errors == 2
    assert (evaluation.data.n_files, evaluation.data.n_labelled) == (2003, 2002)
    assert evaluation.report.support + evaluation.report.unsure == 2000
    assert (evaluation.report.unsure > 0) == (min_confidence > 0)
    step = evaluation.probabilities.thresholds()[round(100 * min_confidence)]
    assert (step.answered, step.correct) == (evaluation.report.support, evaluation.report.correct)


def test_labels_are_matched_by_name(images: Path, tmp_path: Path, no_plots: None) -> None:
    """A class missing on disk shifts nothing."""
    model = fitted_network.fit(tmp_path / "model.onnx", images)
    data = tmp_path / "data"
    names = sorted(path.name for path in images.iterdir() if path.is_dir())
    for name in names[2:5]:
        (data / name).mkdir(parents=True)
        for file in sorted((images / name).iterdir())[:30]:
            shutil.copy(file, data / name)
    evaluation = evaluate(data, model, tmp_path / "reports")
    assert evaluation.data.missing == (*names[:2], *names[5:])
    assert [c.support for c in evaluation.report.classes] == [0, 0, 30, 30, 30, 0, 0, 0, 0, 0]
    assert evaluation.report.accuracy > 0.8
    assert names[0] in evaluation.notes[0]


class Told(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_of_a_split_tree_the_held_out_part_is_used(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        (tmp_path / part / "Cat").mkdir(parents=True)
    told = Told()
    assert held_out(tmp_path, ("Cat", "Dog"), told) == tmp_path / "validation"
    assert "evaluating validation" in told.lines[0]
    (tmp_path / "test").mkdir()
    assert held_out(tmp_path, ("Cat", "Dog")) == tmp_path / "test"
    assert held_out(tmp_path, ("train", "validation")) == tmp_path
    assert held_out(tmp_path / "train", ("Cat", "Dog")) == tmp_path / "train"


@pytest.mark.parametrize(
    "case", ["missing", "a file", "no images", "foreign classes", "foreign labels", "out is a file"]
)
def test_wrong_input_is_named(case: str, images: Path, model: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    expected = {
        "missing": "found nothing",
        "a file": "found a file",
        "no images": "found none",
        "foreign classes": r"none of its folders \(Plum\) is a class of the model \(.*model.onnx: ",
        "foreign labels": r"none of the labels in the table is a class of the model \(.*model.onnx: ",
        "out is a file": "expected a folder, found a file",
    }[case]
    if case == "a file":
        data.write_text("x")
    elif case == "no images":
        (data / "Bag").mkdir(parents=True)
    elif case.startswith("foreign"):
        shutil.copytree(images / "Bag", data / "Plum")
        if case == "foreign labels":
            name = next(path.name for path in (data / "Plum").iterdir())
            (data / "metadata.csv").write_text(f"file_name,label\nPlum/{name},Plum\n")
    elif case == "out is a file":
        data = images
        out.write_text("precious")
    with pytest.raises(InputError, match=expected):
        evaluate(data, model, out)
    assert out.read_text() == "precious" if out.is_file() else not list(out.glob("*"))


def test_undecided_images_of_another_shape_of_model(tmp_path: Path, images: Path) -> None:
    """A network that always says the same: kappa, precision and areas stay defined numbers or null, never NaN text."""
    promise = onnx_networks.contract(("Bag", "Coat"), 8)
    model = onnx_networks.write_mean_network(tmp_path / "model.onnx", promise, seed=3)
    data = tmp_path / "data"
    shutil.copytree(images / "Bag", data / "Bag")
    evaluate(data, model, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["data"]["missing_classes"] == ["Coat"]
    assert content["classes"][0]["roc_auc"] is None
    assert "NaN" not in (tmp_path / "out" / "metrics.json").read_text()


def test_command(images: Path, model: Path, tmp_path: Path) -> None:
    done = run_cli("evaluate", images, "--model", model, "--out", "reports", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    accuracy = json.loads((tmp_path / "reports" / "metrics.json").read_text())["figures"]["accuracy"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("2,000 images, accuracy")
    assert f"accuracy {accuracy:.4f}" in line
    assert line.endswith("-> reports/report.html")
    with (tmp_path / "reports" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2000
