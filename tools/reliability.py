"""Run the tests that try to break toolkit, and write `tools/RELIABILITY.md`: what was tried, how often, what came out.

    python tools/reliability.py                  run them (the long ones, too), ask pip-audit, then write the page
    python tools/reliability.py --fast           leave the long ones out; their lines say "not run"
    python tools/reliability.py --environments   run the default tests with the lowest versions and on other Pythons,
                                                 each in a fresh environment (ten minutes each), then write the page
    python tools/reliability.py --from RUN.xml…  write the page from runs of `pytest --junitxml=RUN.xml`, such as the
                                                 three that `.ci/run` leaves in `.pytest_cache`; what the other commands
                                                 left in build/reliability has its lines, too

Every line of the page is made of a run; one without a run says so. A test counts as one case, or as many as it records
(crash points, mutations).
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "tools" / "RELIABILITY.md"
TABLE: Final = ROOT / "tools" / "reliability.toml"
RUNS: Final = ROOT / "build" / "reliability"
TESTS: Final = "tests"
AUDIT: Final = RUNS / "audit.txt"
AUDIT_S: Final = 180


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        section: its part of the page.
        what: was tried.
        how: in a sentence.
        tests: files below `tests`, or `file::function`; none where it was not tried.
        environment: all default tests, in this environment, instead.
        audit: the answer of pip-audit instead.
    """

    section: str
    what: str
    how: str
    tests: tuple[str, ...] = ()
    environment: str = ""
    audit: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A fresh environment for the default tests.

    Attributes:
        name: by which lines refer to it.
        python: of which version, or the path of an interpreter that systems have.
        options: of `uv pip install`.
    """

    name: str
    python: str
    options: tuple[str, ...] = ()


def read_table() -> tuple[list[Line], list[Environment]]:
    """What `reliability.toml` holds."""
    found: dict[str, list[dict[str, Any]]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    lines = [Line(**{**line, "tests": tuple(line.get("tests", ()))}) for line in found["line"]]
    environments = [Environment(**{**e, "options": tuple(e.get("options", ()))}) for e in found["environment"]]
    return lines, environments


@dataclass
class Found:
    """What the tests of one line came to."""

    cases: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def n(self) -> int:
        """Tests."""
        return self.passed + self.failed + self.skipped


def report_of(name: str) -> Path:
    """Where the report of a run lies."""
    return RUNS / f"{name}.xml"


def run_tests(lines: list[Line], *, fast: bool) -> None:
    """Run all tests of the table."""
    places = sorted({f"tests/{place}" for line in lines for place in line.tests})
    _pytest(sys.executable, TESTS, "-m", "not slow" if fast else "slow or not slow", *places)


def run_environment(environment: Environment) -> None:
    """Make a fresh environment and run the default tests in it; where it cannot be made, its line says so."""
    report_of(environment.name).unlink(missing_ok=True)
    folder = RUNS / environment.name
    python = folder / "bin" / "python"
    made = subprocess.run(
        ["uv", "venv", "--quiet", "--clear", "--python", environment.python, str(folder)], check=False
    )
    if made.returncode:
        print(f"{environment.name}: no Python {environment.python} here")
        return
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), *environment.options, "--editable", ".[dev]"]
    subprocess.run(install, cwd=ROOT, check=True)
    _pytest(str(python), environment.name)
    shutil.rmtree(folder)


def _pytest(python: str, name: str, *arguments: str) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "pytest", "-q", f"--junitxml={report_of(name)}", *arguments]
    subprocess.run(command, cwd=ROOT, check=False)


def run_audit() -> None:
    """Ask pip-audit for known weaknesses of the pinned versions; keep its words."""
    RUNS.mkdir(parents=True, exist_ok=True)
    command = [str(ROOT / "tools" / "lock.sh"), "--audit"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=AUDIT_S)
        AUDIT.write_text(done.stdout + done.stderr, encoding="utf-8")
    except (OSError, subprocess.TimeoutExpired) as error:
        AUDIT.write_text(f"no answer: {error}", encoding="utf-8")


def audit_result() -> str:
    """In a word or two; anything but an answer of the service is none."""
    text = AUDIT.read_text(encoding="utf-8") if AUDIT.exists() else ""
    if "No known vulnerabilities found" in text:
        return "clean"
    if "known vulnerabilit" in text:
        return "**weaknesses found**"
    if text:
        return "**no answer**: the advisory service could not be reached from this machine"
    return "not run this time"


def collect(root: ET.Element | None, line: Line) -> Found:
    """The cases of `line`."""
    found = Found()
    for case in root.iter("testcase") if root is not None else ():
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = case.get("name", "").partition("[")[0]
        inside = any(_is_of(place, file.removeprefix("tests/"), name) for place in line.tests)
        if not line.environment and not inside:
            continue
        recorded = [int(p.get("value", "1")) for p in case.iter("property") if p.get("name") == "cases"]
        if case.find("failure") is not None or case.find("error") is not None:
            found.failed += 1
        elif case.find("skipped") is not None:
            found.skipped += 1
            continue
        else:
            found.passed += 1
        found.cases += sum(recorded) or 1
    return found


def _is_of(place: str, file: str, name: str) -> bool:
    where, _, function = place.partition("::")
    inside = file == where or file.startswith(where.rstrip("/") + "/")
    return inside and (not function or function == name)


def result(line: Line, found: Found) -> str:
    """In a word or two."""
    if line.audit:
        return audit_result()
    if not line.tests and not line.environment:
        return "**not tried**"
    if not found.n:
        return "not run this time"
    if found.failed:
        return f"**{found.failed} failed**"
    if not found.passed:
        return "skipped here"
    return "holds" if not found.skipped else f"holds; {found.skipped} skipped"


def merged(reports: Iterable[Path]) -> ET.Element:
    """The reports of several runs as one."""
    root = ET.Element("testsuites")
    for report in reports:
        root.append(ET.parse(report).getroot())
    return root


def page(lines: list[Line], tests: Iterable[Path] = ()) -> str:
    """The text of the page; `tests` are reports of runs of the table's tests."""
    text = [
        "# What was tried, and what came out",
        "",
        "Written by `tools/reliability.py`. *Holds* means: no crash, no hang, nothing lost, nothing executed, and an",
        "exit code and a message where something was refused. *Not tried* is a gap, not a result.",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        "",
    ]
    reports: dict[str, ET.Element | None] = {TESTS: merged(tests)}
    for section in dict.fromkeys(line.section for line in lines):
        text += [f"## {section}", "", "| what | how | cases | result |", "|---|---|---:|---|"]
        for line in (line for line in lines if line.section == section):
            name = line.environment or TESTS
            if name not in reports:
                path = report_of(name)
                reports[name] = ET.parse(path).getroot() if path.exists() else None
            found = collect(reports[name], line)
            cases = f"{found.cases:,}" if found.cases else "–"
            text.append(f"| {line.what} | {line.how} | {cases} | {result(line, found)} |")
        text.append("")
    return "\n".join(text)


def main() -> None:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--fast", action="store_true", help="leave the long tests out")
    chosen.add_argument("--environments", action="store_true", help="the default tests in fresh environments")
    chosen.add_argument("--from", dest="reports", type=Path, nargs="+", help="reports of pytest --junitxml")
    arguments = parser.parse_args()
    lines, environments = read_table()
    if arguments.environments:
        for environment in environments:
            run_environment(environment)
    elif not arguments.reports:
        run_audit()
        run_tests(lines, fast=arguments.fast)
    own = report_of(TESTS)
    PAGE.write_text(page(lines, arguments.reports or ([own] if own.exists() else [])), encoding="utf-8")


if __name__ == "__main__":
    main()
