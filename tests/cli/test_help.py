"""Help: an example for every command, no type beside a flag, and what the shell completes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command_line import environment, run_cli

from toolkit.cli import app, panels


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


PLACEHOLDER = re.compile(
    r"""(?: [A-Z][A-Za-z]*(?:[=/,|%]?[A-Z…]+)*%?(?:\|auto)?  # DIR, HxW, N|P%, METRIC=X,…, I/N|auto
    | [A-Z]\[,[A-Z],[A-Z]\]                               # M[,M,M]
    | [a-z0-9.-]+(?:\|[a-z0-9.-]+)*                       # copy|move, 0..1
    )""",
    re.VERBOSE,
)


def test_placeholders_are_of_one_style_and_every_option_has_words() -> None:
    """No `<bool>`, no `<int range> [x>=1]`: capitals for a value, small letters for what is typed as it is."""
    root = typer.main.get_command(app)
    context = typer.Context(root)
    seen = 0
    for words in commands():
        command: Any = root
        for word in words.split():
            command = command.commands[word]
        for param in command.get_params(context):
            if isinstance(param, typer.core.TyperOption):
                text = param.display_type_rich(context)
                assert (text is None) == param.is_flag, (words, param.opts)
                assert text is None or PLACEHOLDER.fullmatch(text), (words, param.opts, text)
                assert param.help, (words, param.opts)
                assert "default:" not in param.help.lower(), (words, param.opts)
                seen += 1
    assert seen > 150


def test_what_all_commands_share_stands_in_the_last_group() -> None:
    for words in commands():
        command: Any = typer.main.get_command(app)
        for word in words.split():
            command = command.commands[word]
        last = command.get_params(typer.Context(command))[-1]
        assert last.rich_help_panel == "Messages and help", words


def test_every_option_that_a_group_names_exists() -> None:
    root: Any = typer.main.get_command(app)
    for name, groups in panels.OWN.items():
        command = root.commands[name] if name else root
        known = {option for param in command.get_params(typer.Context(command)) for option in param.opts}
        for options in groups.values():
            assert set(options) <= known, name


def test_toolkit_alone_says_how_to_start(tmp_path: Path) -> None:
    done = run_cli(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("  toolkit ")]
    assert [line.split()[1] for line in lines] == ["infer", "train", "demo"]


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
