"""How help looks: options in groups, one style of placeholders, paragraphs that fill their lines.

Placeholders are in capitals (`DIR`, `N`), words to type as they are in small letters; `|` separates what can be chosen,
`[]` encloses what may be left out, `…` follows what may be repeated.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from toolkit.cli.examples import EXAMPLES
from toolkit.cli.panels import panel_of, rank

EXAMPLE = "$ "
"""How a paragraph begins that is shown as it stands: a command and what it prints."""

PLACEHOLDERS: Final = {Path: "PATH", int: "N", float: "X", str: "TEXT"}


class Command(TyperCommand):
    """A command whose help is tidy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = "\n\n".join([filled(self.help or ""), EXAMPLES.get(self.name or "", "").strip()]).strip()

    def get_params(self, ctx: Any) -> list[Any]:
        return _tidy(super().get_params(ctx), self.name or "")


class Group(TyperGroup):
    """A group of commands whose help is tidy."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _tidy(super().get_params(ctx), "")


def _tidy(params: list[Any], command: str) -> list[Any]:
    """The same parameters, each with its placeholder and its group, in the order of the groups."""
    for param in params:
        if isinstance(param, TyperArgument):
            _tidy_argument(param)
        elif isinstance(param, TyperOption):
            _says(param, "display_type_rich", None if param.is_flag else placeholder(param))
            _says(param, "_get_number_range_help_str", None)
            param.rich_help_panel = param.rich_help_panel or panel_of(command, param.opts)
    return sorted(params, key=lambda p: 0 if isinstance(p, TyperArgument) else rank(command, p.rich_help_panel))


def _tidy_argument(argument: TyperArgument) -> None:
    name = argument.display_name_raw + ("…" if argument.nargs != 1 else "")
    _says(argument, "display_type_rich", None)
    _says(argument, "_rich_display_name", name)
    _says(argument, "_usage_display_name", name if argument.required else f"[{name}]")


def _says(param: TyperArgument | TyperOption, method: str, text: str | None) -> None:
    """Make a method of `param`, by which Typer asks for words of its help, answer with `text`."""

    def answer(*_: object, **__: object) -> str | None:
        return text

    setattr(param, method, answer)


def placeholder(option: TyperOption) -> str:
    """What stands for the value of an option, such as `DIR`, `N` or `copy|move`."""
    if option.metavar:
        return option.metavar
    kind = option.type_descriptor
    if kind.is_choice:
        return "|".join(str(getattr(choice, "value", choice)) for choice in kind.choices or ())
    if option.min is not None and option.max is not None:
        return f"{option.min}..{option.max}"
    return PLACEHOLDERS[Path if kind.is_path else kind.annotation]


def filled(text: str) -> str:
    """Each paragraph in one line, so that the terminal's width breaks it; examples keep their lines.

    >>> filled("One\\ntwo.\\n\\n$ toolkit\\nhelp")
    'One two.\\n\\n$ toolkit\\nhelp'
    """
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(EXAMPLE) else " ".join(p.split()) for p in paragraphs)
