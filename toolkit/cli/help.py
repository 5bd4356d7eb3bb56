"""How help looks: no type beside an option that takes no value, and paragraphs that fill their lines."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from toolkit.cli.examples import EXAMPLES

EXAMPLE = "$ "
"""How a paragraph begins that is shown as it stands: a command and what it prints."""


class Command(TyperCommand):
    """A command whose help is tidy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = "\n\n".join([filled(self.help or ""), EXAMPLES.get(self.name or "", "").strip()]).strip()

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_type(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose help is tidy."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_type(super().get_params(ctx))


def _without_type(params: list[Any]) -> list[Any]:
    for option in params:
        if isinstance(option, TyperOption) and option.is_flag:
            option.display_type_rich = _no_type  # type: ignore[method-assign]
    return params


def _no_type(ctx: Any) -> str | None:
    """What stands beside an option that takes no value: nothing."""
    return None


def filled(text: str) -> str:
    """Each paragraph in one line, so that the terminal's width breaks it; examples keep their lines.

    >>> filled("One\\ntwo.\\n\\n$ toolkit\\nhelp")
    'One two.\\n\\n$ toolkit\\nhelp'
    """
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(EXAMPLE) else " ".join(p.split()) for p in paragraphs)
