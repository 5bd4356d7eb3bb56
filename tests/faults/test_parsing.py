"""Files that were made to break a parser: an error with its exit code, never a bug, never a default."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import small
from support.command_line import Cli

from toolkit.core.errors import ModelError, ToolkitError
from toolkit.core.parse import parse_json, parse_toml
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.model_files.contract import Contract
from toolkit.training.recipes.recipe import available, parse_recipe

DEEP = "[" * 100_000
HOSTILE_JSON = {
    "deep list": DEEP,
    "deep object": '{"a":' * 100_000,
    "digits": '{"schema": ' + "9" * 10_000 + "}",
    "nan": '{"schema": NaN}',
    "infinity": '{"schema": -Infinity}',
    "a number": "7",
    "nothing": "",
    "null": "null",
}


@pytest.mark.parametrize("case", HOSTILE_JSON)
def test_bundles_and_contracts(case: str, tmp_path: Path, run: Cli) -> None:
    text = HOSTILE_JSON[case]
    with pytest.raises(ModelError):
        Contract.from_json(text)
    bundle = small.bundle(tmp_path / "model")
    (bundle / "bundle.json").write_text(text)
    for command in (["inspect", "model"], ["export", "model", "--onnx"]):
        done = run(*command)
        assert done.code in (4, 8), done.err
        assert "bug" not in done.err
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "split.json").write_text(text)
    assert run("split", small.folders(tmp_path / "photos"), "--out", "parts").code == 3


@pytest.mark.parametrize("case", HOSTILE_JSON)
def test_jsonl_with_a_foreign_line_is_written_anew(case: str, tmp_path: Path) -> None:
    photos, model, out = small.folders(tmp_path / "photos"), small.model(tmp_path / "model.onnx"), tmp_path / "l.jsonl"
    inputs, options = Inputs(paths=(str(photos),)), InferOptions(update=True)
    infer(inputs, out, model, options)
    expected = out.read_bytes()
    out.write_bytes(expected + HOSTILE_JSON[case].encode())
    infer(inputs, out, model, options)
    assert out.read_bytes() == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_update_writes_a_torn_table_anew(suffix: str, tmp_path: Path) -> None:
    photos, model = small.folders(tmp_path / "photos"), small.model(tmp_path / "model.onnx")
    out = tmp_path / f"labels{suffix}"
    inputs, options = Inputs(paths=(str(photos),)), InferOptions(update=True)
    infer(inputs, out, model, options)
    expected = out.read_bytes()
    for torn in (expected[:-1], expected[:-9], expected + b"photos/Dog/9.png,Ca", expected + b'"'):
        out.write_bytes(torn)
        infer(inputs, out, model, options)
        assert out.read_bytes() == expected


FLOWERS = available()["flowers"].read_text(encoding="utf-8")
HOSTILE_TOML = {
    "digits": "schema = " + "9" * 10_000,
    "deep": "a = " + DEEP,
    "deep tables": "a = " + "{a=" * 50_000,
    "nan": FLOWERS.replace('"1/255"', "nan"),
    "infinite": FLOWERS.replace('"1/255"', "inf"),
    "text that is nan": FLOWERS.replace('"1/255"', '"nan/1"'),
    "text that is infinite": FLOWERS.replace('"1/255"', '"1e308/1e-308"'),
    "learning rate": FLOWERS.replace("[train]", "[train]\nlearning_rate = nan"),
}


@pytest.mark.parametrize("case", HOSTILE_TOML)
def test_recipes(case: str, tmp_path: Path, run: Cli) -> None:
    (tmp_path / "mine.toml").write_text(HOSTILE_TOML[case])
    done = run("recipe", "show", "mine.toml")
    assert done.code == 4, done.out
    assert "bug" not in done.err


def test_a_byte_order_mark_does_no_harm(tmp_path: Path, run: Cli) -> None:
    (tmp_path / "mine.toml").write_text("\ufeff" + FLOWERS, encoding="utf-8")
    done = run("recipe", "show", "mine.toml")
    assert done.code == 0, done.err
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert parse_toml("\ufeffa = 1") == {"a": 1}


@pytest.mark.parametrize("option", ["--near", "--dark", "--blurred", "--odd-size", "--imbalance"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_thresholds_of_check_are_numbers(option: str, value: str, tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "photos")
    assert run("check", "photos", option, value).code == 2


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4000), st.integers(0, 200))
def test_mutated_recipes_and_contracts(octets: bytes, at: int, cut: int) -> None:
    noise = octets.decode("utf-8", "replace")
    with suppress(ToolkitError):
        parse_recipe(FLOWERS[:at] + noise + FLOWERS[at + cut :], source="mine.toml", name="mine")
    whole = json.dumps({"schema": 1, "labels": ["a", "b"], "height": 8, "width": 8, "colour": "rgb", "resize": "pad"})
    at %= len(whole)
    with suppress(ToolkitError):
        Contract.from_json(whole[:at] + noise + whole[at + cut :])
