"""Help: an example for every command, no type beside a flag, and what the shell completes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from support.command_line import environment, run_cli

from toolkit.cli import app


def commands() -> Iterator[str]:
    """Every command as it is typed."""
    groups = [(app, "")] + [(group.typer_instance, f"{group.name} ") for group in app.registered_groups]
    for group, prefix in groups:
        assert isinstance(group, typer.Typer)
        for command in group.registered_commands:
            yield f"{prefix}{command.name or getattr(command.callback, '__name__', '')}"


def test_every_command_has_an_example() -> None:
    root = typer.main.get_command(app)
    for words in commands():
        command = root
        for word in words.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        assert f"\n\n$ toolkit {words}" in (command.help or ""), words


@pytest.mark.parametrize("words", ["infer", "split", "recipe show"])
def test_help_as_it_is_printed(words: str, tmp_path: Path) -> None:
    done = run_cli(*words.split(), "--help", cwd=tmp_path, COLUMNS="100")
    assert done.returncode == 0
    assert "bool" not in done.stdout
    assert f"$ toolkit {words}" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("toolkit train x --recipe flo", "flowers"),
        ("toolkit infer x --device c", "cuda"),
        ("toolkit infer x --format j", "jsonl"),
    ],
)
def test_completion(typed: str, offered: str, tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['toolkit']; from toolkit.cli import main; sys.exit(main())"
    words = {"_TYPER_COMPLETE_ARGS": typed, "_TOOLKIT_COMPLETE": "complete_zsh"}
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, cwd=tmp_path, env=environment(**words), capture_output=True, text=True, check=False)
    assert offered in done.stdout
