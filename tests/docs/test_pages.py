"""The pages: generated parts are current, links lead somewhere, tables name what is there."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ROOT, environment
from support.pages import PAGES, anchor, blocks

from toolkit.inference.extra_columns import DETECTION, EXIF
from toolkit.training.recipes import recipe as recipes

LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
OTHERS = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]


def test_generated_parts_are_current() -> None:
    command = [sys.executable, "tools/update_docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python tools/update_docs.py"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, heading = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {anchor(h) for h in headings}, f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
            waiting += [(page.parent / link).resolve() for link in links if link.endswith(".md") and ":" not in link]
    assert set(PAGES) <= reached, sorted(page.name for page in set(PAGES) - reached)


def test_columns_are_those_of_the_tables() -> None:
    text = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    for name in ("labels", "split", "findings", "report", "history"):
        with (ROOT / "tests" / "golden" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for column in next(csv.reader(file)):
                assert f"`{column}`" in text or column.startswith("p:"), f"{name}.csv: {column}"
    for column in (*DETECTION.columns, *EXIF.columns):
        assert f"`{column}`" in text, column


def test_the_numbers_of_the_recipes_are_those_of_their_files() -> None:
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    for name in recipes.available():
        assert f"{recipes.load_recipe(name).parameters:,}" in text, name


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(ROOT / "docs" / "recipes.md") if block.language == "toml"]
    (tmp_path / "mine.toml").write_text(block.text, encoding="utf-8")
    assert recipes.load_recipe(tmp_path / "mine.toml").title == "Two convolutions"


NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w.]*\d)")


def numbers(text: str) -> set[str]:
    """Numbers with a fraction or of at least three digits."""
    return {found for found in NUMBER.findall(text) if "." in found or len(found) > 2}


def test_measured_numbers_of_the_readme_stand_where_they_were_measured() -> None:
    """Each number of its beginning and its tables is, rounded, one of a page, a script, or the recorded session."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    places = [*PAGES[1:], *(ROOT / "tools").glob("bench_*.py"), ROOT / "docs" / "images" / "session.svg"]
    sources = [float(n.replace(",", "")) for path in places for n in numbers(path.read_text(encoding="utf-8"))]
    sources += [number / 1000 for number in sources]  # MB as GB
    n_images, per_s = 10_000_000, 1063
    sources.append(n_images / per_s / 3600)  # hours
    assert per_s in sources
    parts = {"beginning": text.partition("\n## ")[0]}
    for section in ("Jobs", "Compared"):
        (part,) = re.findall(rf"^## {section}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
        parts[section] = "\n".join(line for line in part.splitlines() if line.startswith("|"))
        assert len(numbers(parts[section])) >= 8
    for section, part in parts.items():
        for found in numbers(part) - {"0.6.1"}:
            decimals = len(found.partition(".")[2])
            assert any(round(s, decimals) == float(found.replace(",", "")) for s in sources), f"{section}: {found}"
