"""Options given from Python are brought to their types, or refused: the same checks as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit import (
    AdoptOptions,
    EvaluateOptions,
    ExportOptions,
    InferOptions,
    Mode,
    Preprocess,
    Quantize,
    SplitOptions,
    TrainOptions,
    UsageError,
)
from toolkit.data.label_table import LabelTables

TEXTS: list[tuple[Callable[..., Any], dict[str, Any], str, Any]] = [
    (SplitOptions, {}, "mode", Mode.MOVE),
    (ExportOptions, {"onnx": True}, "quantize", Quantize.INT8),
    (ExportOptions, {"onnx": True}, "values", toolkit.Values.UNIT),
    (ExportOptions, {"onnx": True}, "output", toolkit.Output.LOGITS),
    (ExportOptions, {"onnx": True}, "resize", toolkit.Resize.CROP),
    (AdoptOptions, {}, "values", toolkit.Values.SYMMETRIC),
    (AdoptOptions, {}, "channels", toolkit.Channels.BGR),
    (AdoptOptions, {}, "layout", toolkit.TensorLayout.NCHW),
    (AdoptOptions, {}, "output", toolkit.Output.PROBABILITIES),
    (AdoptOptions, {}, "resize", toolkit.Resize.PAD),
    (InferOptions, {}, "runtime", toolkit.Runtime.OPENVINO),
    (EvaluateOptions, {}, "runtime", toolkit.Runtime.ONNXRUNTIME),
    (InferOptions, {"runtime": "openvino"}, "precision", toolkit.Precision.BFLOAT16),
    (EvaluateOptions, {"runtime": "openvino"}, "precision", toolkit.Precision.EXACT),
    (ExportOptions, {"onnx": True}, "runtime", toolkit.Runtime.OPENVINO),
    (AdoptOptions, {}, "runtime", toolkit.Runtime.AUTO),
    (Preprocess, {"height": 8, "width": 8}, "colour", toolkit.Colour.RGB),
    (Preprocess, {"height": 8, "width": 8}, "resize", toolkit.Resize.CROP),
]


@pytest.mark.parametrize(("make", "needed", "name", "member"), TEXTS)
def test_text_becomes_the_member(make: Callable[..., Any], needed: dict[str, Any], name: str, member: Any) -> None:
    assert getattr(make(**needed, **{name: str(member)}), name) is member
    assert getattr(make(**needed, **{name: member}), name) is member
    with pytest.raises(UsageError, match=f"--{name} nonsense: expected .*{member}") as caught:
        make(**needed, **{name: "nonsense"})
    assert caught.value.exit_code == 2


def test_a_typing_mistake_is_guessed() -> None:
    with pytest.raises(UsageError) as caught:
        SplitOptions(mode="hard_link")  # type: ignore[arg-type]
    assert caught.value.hint == "did you mean hardlink?"


def test_a_colour_in_text_has_three_channels() -> None:
    assert Preprocess(height=8, width=8, colour="rgb").channels == 3  # type: ignore[arg-type]


def test_paths_may_be_text() -> None:
    assert SplitOptions(out="a").out == Path("a")  # type: ignore[arg-type]
    assert ExportOptions(onnx=True, out="a", data="b", labels="c").labels == Path("c")  # type: ignore[arg-type]
    assert AdoptOptions(labels="a", out="b").out == Path("b")  # type: ignore[arg-type]
    assert InferOptions(max_failures="2%").max_failures == toolkit.MaxFailures(2, percent=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--out 3: expected a path"):
        SplitOptions(out=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "good", "member", "bad"),
    [
        ("out", "a", Path("a"), [3, None, b"a", "a\0b"]),
        ("epochs", "3", 3, ["x", 1.5, True, 0, "", float("nan"), [3]]),
        ("seed", "0", 0, ["x", -1]),
        ("gpus", "0", 0, ["all", -1]),
        ("workers", "2", 2, [None, -1, 2.0]),
        ("image_size", "64x32", (64, 32), [64.5, (64, 64, 3), (64.5, 64), "big", {}]),
        ("image_size", 64, (64, 64), [True]),
        ("image_size", [8, "9"], (8, 9), [("a", 1)]),
        ("cache_dir", "c", Path("c"), [5]),
        ("weights", "w.h5", Path("w.h5"), [5, "a\0b"]),
        ("labels", "x.csv", LabelTables(tables=("x.csv",)), [5, [5]]),
        ("labels", ["x.csv", Path("y.csv")], LabelTables(tables=("x.csv", "y.csv")), [{}]),
        ("resume", True, True, ["no", 1, None]),
        ("recipe", "flowers", "flowers", [5, ["flowers"]]),
        ("max_memory", "2GB", "2GB", ["lots", -1]),
    ],
)
def test_each_option_of_a_training_is_checked(name: str, good: Any, member: Any, bad: list[Any]) -> None:
    assert getattr(TrainOptions(**{name: good}), name) == member
    for value in bad:
        with pytest.raises(UsageError, match=r"expected|image size"):
            TrainOptions(**{name: value})


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert TrainOptions(epochs=numpy.int64(3)).epochs == 3
    assert InferOptions(min_confidence=numpy.float32(0.5)).min_confidence == 0.5


@pytest.mark.parametrize("change", [{"batch_size": 1.5}, {"top_k": "x"}, {"min_confidence": "high"}, {"update": "no"}])
def test_options_of_infer_and_embed_are_checked(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected"):
        toolkit.embed(tmp_path, tmp_path / "x.npy", options=InferOptions(**change))


def test_arguments_of_another_type_are_wrong_usage(tmp_path: Path) -> None:
    call: Any
    for call in (
        lambda: toolkit.train(None),  # type: ignore[arg-type]
        lambda: toolkit.train("a\0b"),
        lambda: toolkit.train(tmp_path, {"recipe": "flowers"}),  # type: ignore[arg-type]
        lambda: toolkit.train(tmp_path, TrainOptions(effort=["best"], out=tmp_path / "m")),  # type: ignore[arg-type]
        lambda: toolkit.embed(None, "x.npy"),  # type: ignore[arg-type]
        lambda: toolkit.embed([tmp_path, 5], "x.npy"),  # type: ignore[list-item]
        lambda: toolkit.embed([], "x.npy"),
        lambda: toolkit.embed(tmp_path, 5),  # type: ignore[arg-type]
        lambda: toolkit.embed(tmp_path, "x.npy", options=5),  # type: ignore[arg-type]
        lambda: toolkit.infer(tmp_path, None),  # type: ignore[arg-type]
        lambda: toolkit.infer(tmp_path, "x.csv", 5),  # type: ignore[arg-type]
        lambda: toolkit.merge("a.csv", "b.csv"),
        lambda: toolkit.split(b"a"),  # type: ignore[arg-type]
        lambda: toolkit.check(tmp_path, {}),  # type: ignore[arg-type]
        lambda: toolkit.CheckOptions(near="x"),  # type: ignore[arg-type]
        lambda: toolkit.evaluate(None),  # type: ignore[arg-type]
        lambda: toolkit.export(None, ExportOptions(onnx=True)),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match="expected"):
            call()


def test_a_split_by_text_is_that_of_the_command_line(tmp_path: Path) -> None:
    """`mode="move"` from Python records the originals that it moves, and a second split never deletes them."""
    from toolkit.images.decode import encode_png

    numpy = pytest.importorskip("numpy")
    for label in ("a", "b"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(4):
            pixels = numpy.full((8, 8, 3), 40 * i + (label == "b"), numpy.uint8)
            (tmp_path / "pets" / label / f"{i}.png").write_bytes(encode_png(pixels))
    out = tmp_path / "out"
    options = {"ratio": "0.5", "mode": "move", "out": str(out)}
    toolkit.split(str(tmp_path / "pets"), SplitOptions(**options))  # type: ignore[arg-type]
    assert '"originals": true' in (out / "split.json").read_text()
    assert len(list(out.rglob("*.png"))) == 8
    with pytest.raises(toolkit.ToolkitError):
        toolkit.split(str(tmp_path / "pets"), SplitOptions(**options, seed=1, force=True))  # type: ignore[arg-type]
    assert len(list(out.rglob("*.png"))) == 8


@pytest.mark.parametrize("make", [InferOptions, EvaluateOptions])
def test_a_device_is_checked(make: Callable[..., Any]) -> None:
    assert make(device="cuda:0,1").device == "cuda:0,1"
    with pytest.raises(UsageError, match="--device gpu"):
        make(device="gpu")


@pytest.mark.parametrize("name", toolkit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(toolkit, name) is not None


@pytest.mark.parametrize("kind", ["UsageError", "InputError", "ModelError", "NoContractError", "MismatchError"])
def test_errors_are_public(kind: str) -> None:
    assert issubclass(getattr(toolkit, kind), toolkit.ToolkitError)
