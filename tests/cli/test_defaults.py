"""Every option's default is the same on the command line and in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from typing import Any

import pytest

import toolkit
from toolkit.cli.label import evaluate, infer
from toolkit.cli.models import adopt, export, train
from toolkit.cli.prepare import check, split

ONLY_IN_PYTHON: dict[str, dict[str, str]] = {
    "SplitOptions": {"verify": "--no-verify"},
    "InferOptions": {"processes": "the command line always may fork", "engine_messages": "--verbose"},
    "EvaluateOptions": dict.fromkeys(("batch_size", "workers", "max_pixels", "gallery"), "chosen from the machine"),
}
"""Fields without an option of the same name, and why."""


def default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def plain(value: Any) -> Any:
    """One form for what the command line takes as text and Python as a type."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple) and value and hasattr(value[0], "as_tuple"):
        return str(value[0])  # a ratio: the share for training
    if value in ("", (), [], None):
        return None
    return value


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (split.split, toolkit.SplitOptions),
        (check.check, toolkit.CheckOptions),
        (train.train, toolkit.TrainOptions),
        (export.export, toolkit.ExportOptions),
        (adopt.adopt, toolkit.AdoptOptions),
        (infer.infer, toolkit.InferOptions),
        (evaluate.evaluate, toolkit.EvaluateOptions),
    ],
)
def test_defaults_agree(command: Callable[..., None], options: type[Any]) -> None:
    parameters = inspect.signature(command).parameters
    shared = {field.name: field for field in fields(options) if field.name in parameters}
    missing = {field.name for field in fields(options)} - set(shared)
    assert missing == set(ONLY_IN_PYTHON.get(options.__name__, {}))
    here = {name: plain(parameters[name].default) for name in shared}
    if command is infer.infer:
        assert here.pop("top_k") is None  # 5 on the screen; in a file what Python's default says
        assert shared.pop("top_k").default == 1
    there = {name: plain(default(field)) for name, field in shared.items()}
    assert here == there


def test_a_split_verifies_unless_told_not_to() -> None:
    assert inspect.signature(split.split).parameters["no_verify"].default is False
    assert toolkit.SplitOptions().verify is True
