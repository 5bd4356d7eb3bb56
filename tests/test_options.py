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
    UsageError,
)

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
