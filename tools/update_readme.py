"""Write the table of commands into README.md; `--check` only says whether it is current."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import typer

from toolkit.cli import app

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- commands: written by tools/update_readme.py -->\n", "<!-- end of commands -->"


def command_table() -> str:
    """A Markdown table of every command: its name, and the first sentence of its help."""
    rows = ["| command | does |", "|---|---|", *_rows(app, "toolkit")]
    for group in app.registered_groups:
        if group.typer_instance:
            rows += _rows(group.typer_instance, f"toolkit {group.name or group.typer_instance.info.name}")
    return "\n".join(rows) + "\n"


def _rows(commands: typer.Typer, prefix: str) -> list[str]:
    rows = []
    for command in commands.registered_commands:
        function = command.callback
        if function is not None:
            name = command.name or function.__name__.replace("_", "-")
            summary = (function.__doc__ or "").strip().split("\n\n")[0]
            rows.append(f"| `{prefix} {name}` | {' '.join(summary.split())} |")
    return rows


def updated(text: str) -> str:
    """README text with the table as it should be."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: BEGIN + command_table() + END, text, flags=re.DOTALL)


def main() -> int:
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(updated(text) != text)
    README.write_text(updated(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
