"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support.command_line import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "models" / "README.md"]
SHELLS = ("sh", "bash", "console", "shell")
MARK = re.compile(r"<!-- not run: ((?:(?!-->).)+) -->\s*$", re.DOTALL)
FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block of code.

    Attributes:
        page: the file that it stands in.
        language: what follows the backticks; "" where nothing does.
        text: its lines, without the backticks.
        reason: why it is not run, from a comment `<!-- not run: … -->` right above; "" where there is none.
    """

    page: Path
    language: str
    text: str
    reason: str

    @property
    def lines(self) -> list[str]:
        """The commands: no comments, no blank lines, continued lines joined."""
        joined = self.text.replace("\\\n", " ")
        found = (re.sub(r"  #.*", "", line).strip() for line in joined.splitlines())
        return [line for line in found if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()])
        found.append(Block(page=page, language=match[2], text=match[3], reason=mark[1] if mark else ""))
    return found


def anchor(heading: str) -> str:
    """What a heading is called in an address, as GitHub and mkdocs make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")
