"""Write the generated parts of the documentation; `--check` only names the pages that are not current.

    python tools/update_docs.py [--check]

A part stands between `<!-- NAME: written by tools/update_docs.py -->` and `<!-- end of NAME -->`. `PARTS` says what is
written there: the table of commands, their options, exit codes, what a recipe may say, the recipes' own numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperOption

from toolkit.checking.findings import KINDS
from toolkit.cli import app
from toolkit.cli.help import EXAMPLE, placeholder
from toolkit.core import errors
from toolkit.training.recipes import recipe as recipes
from toolkit.training.recipes import recipe_schema as schema

ROOT: Final = Path(__file__).parent.parent
Commands = list[tuple[str, Any]]


def commands() -> Commands:
    """Every command in the order of the help: what is typed, and the command."""
    root: Any = typer.main.get_command(app)
    found: Commands = []
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found += [(f"{name} {word}", below) for word, below in inner.items()] if inner else [(name, command)]
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; `|` within a cell is escaped."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def command_table() -> str:
    rows = [
        (f"[`toolkit {name}`](#toolkit-{name.replace(' ', '-')})", command.help.split("\n\n")[0])
        for name, command in commands()
    ]
    return table(("command", "does"), rows)


def command_pages() -> str:
    """A section for each command: usage, what it does, an example, its options group by group."""
    return "\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"toolkit {name}")
    words = [part for part in command.help.split("\n\n") if not part.startswith(EXAMPLE)]
    examples = [part for part in command.help.split("\n\n") if part.startswith(EXAMPLE)]
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## toolkit {name}\n", f"`toolkit {name} {usage}`\n", *(f"{_plain(word)}\n" for word in words)]
    parts.append("```text\n" + "\n\n".join(examples) + "\n```\n")
    groups: dict[str, list[TyperOption]] = {}
    for param in command.get_params(context):
        if isinstance(param, TyperOption):
            groups.setdefault(param.rich_help_panel or "Options", []).append(param)
        else:
            optional = "" if param.required else f" {_default(param, context)}"
            parts.append(f"`{param._rich_display_name()}`: {_plain(param.help)}{optional}\n")
    for group, options in groups.items():
        kept = [option for option in options if "--help" not in option.opts]
        rows = [(_names(o), _plain(o.help or "") + f" {_default(o, context)}".rstrip()) for o in kept]
        parts += [table((group, ""), rows)] if rows else []
    return "\n".join(parts)


def _names(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    return names if option.is_flag else f"{names} `{placeholder(option)}`"


def _default(param: Any, context: typer.Context) -> str:
    if isinstance(param.show_default, str):
        return f"Default: {param.show_default}."
    value = param.get_default(context, call=False)
    shown = getattr(value, "value", value)
    return "" if shown is None or shown == "" or getattr(param, "is_flag", False) else f"Default: `{shown}`."


def _plain(text: str) -> str:
    """Help as Markdown: no star or underscore of it means anything."""
    return re.sub(r"(?<!`)([*_<])", r"\\\1", text)


def exit_codes() -> str:
    """From the classes of errors, and what Python itself ends with."""
    kinds: list[type[errors.ToolkitError]] = sorted(errors.ToolkitError.__subclasses__(), key=lambda k: k.exit_code)
    rows = [("0", "", "Done."), ("1", "", "A bug: one line, and where the traceback was written.")]
    rows += [(str(kind.exit_code), f"`{kind.__name__}`", (kind.__doc__ or "").split("\n\n")[0]) for kind in kinds]
    stopped = "Interrupted (Ctrl-C, SIGTERM). What was done is kept and the next run continues."
    return table(("code", "in Python", "meaning"), [*rows, ("130, 143", "`KeyboardInterrupt`", stopped)])


def _must_be(check: schema.Check) -> str:
    """What a check says to a value that fits nothing."""
    text = check(object()).replace(" to 2147483647", " or more")
    return re.sub(r"'([^']*)'", r"`\1`", text)


def _keys(arguments: schema.Arguments) -> str:
    rows = [
        (f"`{key}`" + (", required" if key in arguments.required else ""), _must_be(check))
        for key, check in arguments.checks.items()
    ]
    return table(("key", "must be"), rows)


def _layers(layers: Mapping[str, schema.Arguments]) -> str:
    rows = [
        (
            f"`{name}`",
            ", ".join(f"**{key}**" if key in found.required else key for key in found.checks if key != "name"),
        )
        for name, found in layers.items()
    ]
    return table(("class", "arguments (required ones in bold)"), rows)


def recipe_table() -> str:
    loaded = [recipes.load_recipe(name) for name in recipes.available()]
    loaded.sort(key=lambda recipe: recipe.backbone is None)
    return table(
        ("recipe", "input", "parameters", "what it is"),
        [
            (
                f"`{r.name}`",
                f"{r.preprocess.height}×{r.preprocess.width}×{r.preprocess.channels}",
                f"{r.parameters:,}",
                r.title,
            )
            for r in loaded
        ],
    )


PARTS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "commands": ("docs/commands.md", command_table),
    "options": ("docs/commands.md", command_pages),
    "exit codes": ("docs/exit-codes.md", exit_codes),
    "findings": ("docs/check.md", lambda: table(("kind", "stands for"), ((f"`{k}`", v) for k, v in KINDS.items()))),
    "recipes": ("docs/recipes.md", recipe_table),
    "top": ("docs/recipes.md", lambda: _keys(schema.TOP)),
    "input": ("docs/recipes.md", lambda: _keys(schema.INPUT)),
    "backbone": ("docs/recipes.md", lambda: _keys(schema.BACKBONE)),
    "train": ("docs/recipes.md", lambda: _keys(schema.TRAIN)),
    "layers": ("docs/recipes.md", lambda: _layers(schema.LAYERS)),
    "augmentations": ("docs/recipes.md", lambda: _layers(schema.AUGMENTATIONS)),
}
"""Name of a part -> the page that it stands in, and what writes it."""


def updated(text: str, name: str, part: str) -> str:
    """`text` of a page with one part as it should be.

    Raises:
        SystemExit: the page has no place for it.
    """
    begin, end = f"<!-- {name}: written by tools/update_docs.py -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"no place for {name!r}: {begin}…{end}")
    return f"{before}{begin}\n{part}\n{end}{after}"


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page with generated parts: its place, its text, and the text as it should be."""
    for page in dict.fromkeys(page for page, _ in PARTS.values()):
        text = (ROOT / page).read_text(encoding="utf-8")
        new = text
        for name, (place, make) in PARTS.items():
            new = updated(new, name, make()) if place == page else new
        yield ROOT / page, text, new


def main() -> int:
    changed = [(path, new) for path, text, new in pages() if new != text]
    if "--check" in sys.argv:
        for path, _ in changed:
            print(f"not current: {path.relative_to(ROOT)}")
        return int(bool(changed))
    for path, new in changed:
        path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
