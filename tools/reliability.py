"""Run the tests that try to break toolkit, and write `tools/RELIABILITY.md`: what was tried, how often, what came out.

    python tools/reliability.py                  run them (the long ones, too: an hour), then write the page
    python tools/reliability.py --fast           leave the long ones out; their lines say "not run"
    python tools/reliability.py --from RUN.xml…  write the page from runs of `pytest --junitxml=RUN.xml`, such as the
                                                 two that `.ci/run` leaves in `.pytest_cache`

A line whose tests were not run says so. A test counts as one case, or as many as it records (crash points, mutations).
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "tools" / "RELIABILITY.md"
TABLE: Final = ROOT / "tools" / "reliability.toml"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: was tried.
        how: in a sentence.
        tests: files below `tests`, or `file::function`; none where it was not tried.
    """

    what: str
    how: str
    tests: tuple[str, ...] = ()


def sections() -> dict[str, list[Line]]:
    """The lines of `reliability.toml`, by their section."""
    found: dict[str, list[Line]] = {}
    for line in tomllib.loads(TABLE.read_text(encoding="utf-8"))["line"]:
        found.setdefault(line["section"], []).append(Line(line["what"], line["how"], tuple(line["tests"])))
    return found


@dataclass
class Found:
    """What the tests of one line came to."""

    cases: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def run(*, fast: bool) -> ET.Element:
    """The report of a run of all tests of the table."""
    places = sorted({place for lines in sections().values() for line in lines for place in line.tests})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "run.xml"
        marks = "not slow" if fast else "slow or not slow"
        tests = [f"tests/{place}" for place in places]
        command = [sys.executable, "-m", "pytest", "-q", "-m", marks, f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, check=False)
        return ET.parse(report).getroot()


def merged(reports: Iterable[Path]) -> ET.Element:
    """The reports of several runs as one."""
    root = ET.Element("testsuites")
    for report in reports:
        root.append(ET.parse(report).getroot())
    return root


def collect(root: ET.Element, line: Line) -> Found:
    """The cases of `line`."""
    found = Found()
    for case in root.iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = case.get("name", "").partition("[")[0]
        if not any(_is_of(place, file.removeprefix("tests/"), name) for place in line.tests):
            continue
        recorded = [int(p.get("value", "1")) for p in case.iter("property") if p.get("name") == "cases"]
        found.cases += sum(recorded) or 1
        if case.find("failure") is not None or case.find("error") is not None:
            found.failed += 1
        elif case.find("skipped") is not None:
            found.skipped += 1
        else:
            found.passed += 1
    return found


def _is_of(place: str, file: str, name: str) -> bool:
    where, _, function = place.partition("::")
    inside = file == where or file.startswith(where.rstrip("/") + "/")
    return inside and (not function or function == name)


def result(line: Line, found: Found) -> str:
    """In a word or two."""
    if not line.tests:
        return "**not tried**"
    if not found.passed + found.failed + found.skipped:
        return "not run this time"
    if found.failed:
        return f"**{found.failed} failed**"
    return "holds" if not found.skipped else f"holds; {found.skipped} skipped"


def page(root: ET.Element) -> str:
    """The text of the page."""
    lines = [
        "# What was tried, and what came out",
        "",
        "Written by `tools/reliability.py`. *Holds* means: no crash, no hang, nothing lost, nothing executed, and an",
        "exit code and a message where something was refused. *Not tried* is a gap, not a result.",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        "",
    ]
    for title, rows in sections().items():
        lines += [f"## {title}", "", "| what | how | cases | result |", "|---|---|---:|---|"]
        for row in rows:
            found = collect(root, row)
            cases = f"{found.cases:,}" if found.cases else "–"
            lines.append(f"| {row.what} | {row.how} | {cases} | {result(row, found)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run, or read a run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="leave the long tests out")
    parser.add_argument("--from", dest="reports", type=Path, nargs="+", help="reports of pytest --junitxml")
    arguments = parser.parse_args()
    root = merged(arguments.reports) if arguments.reports else run(fast=arguments.fast)
    PAGE.write_text(page(root), encoding="utf-8")


if __name__ == "__main__":
    main()
