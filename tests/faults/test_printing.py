"""Names from files, folders, archives and models never reach a terminal raw."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_networks, small
from support.command_line import Cli

from toolkit.core.text import harmless

EVIL = "\x1b[31mred\x07\x9b2J\u202eevil\r"


def unsafe(text: str) -> set[str]:
    """Control characters, separators of lines, and marks that turn the direction of text."""
    return {
        c for c in text if (unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\n\t") or c in "\u202e\u2066"
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    photos = small.folders(tmp_path / "photos")
    (photos / EVIL).mkdir()
    for i in range(3):
        (photos / EVIL / f"{EVIL}{i}.png").write_bytes(small.png(500 + i))
    (photos / EVIL / f"{EVIL}broken.png").write_bytes(b"")
    (photos / EVIL / "line\nerror: forged.png").write_bytes(b"")
    onnx_networks.write_mean_network(tmp_path / "model.onnx", onnx_networks.contract(("Cat", "Dog", EVIL)))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["check", "photos"],
        ["split", "photos", "--dry-run"],
        ["split", "photos", "--strict"],
        ["infer", "photos", "--model", "model.onnx", "--out", f"{EVIL}.csv"],
        ["infer", f"photos/{EVIL}/{EVIL}broken.png", "--model", "model.onnx", "--out", "one.csv"],
        ["infer", f"missing{EVIL}", "--model", "model.onnx", "--out", "one.csv"],
        ["inspect", "model.onnx"],
        ["inspect", "model.onnx", "--json"],
        ["inspect", f"missing{EVIL}.onnx"],
        ["recipe", "show", f"missing{EVIL}.toml"],
        ["evaluate", f"missing{EVIL}", "--model", "model.onnx"],
        ["train", f"missing{EVIL}", "--recipe", "flowers"],
    ],
    ids=lambda command: " ".join(command[:2]).replace(EVIL, "EVIL"),
)
@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_is_printed_raw(command: list[str], verbose: bool, place: Path, run: Cli) -> None:
    done = run(*command, *(["--verbose"] if verbose else []))
    assert not unsafe(done.out), unsafe(done.out)
    assert not unsafe(done.err), unsafe(done.err)
    if not verbose:  # a traceback is many lines
        assert not [line for line in (done.out + done.err).splitlines() if line.startswith("error: forged")]
    assert "bug" not in done.err


def test_a_log_of_json_holds_one_object_a_line(place: Path, run: Cli) -> None:
    done = run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv", "--log-format", "json")
    assert all(isinstance(json.loads(line), dict) for line in done.err.splitlines())


@given(st.text())
def test_any_text_is_made_harmless(text: str) -> None:
    assert not unsafe(harmless(text))
    assert "\n" not in harmless(text.replace("  ", ""))
