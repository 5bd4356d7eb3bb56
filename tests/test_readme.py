"""README stays true: every command is listed, the table is current, the set-up is two lines."""

from __future__ import annotations

import re
import subprocess
import sys

from conftest import ROOT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_commands_is_current() -> None:
    command = [sys.executable, "tools/update_readme.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, env=environment())
    assert done.returncode == 0, "run: python tools/update_readme.py"


def test_the_lines_that_cron_jobs_use_stand_in_it() -> None:
    for line in (
        "toolkit split PetImages --ratio 0.9",
        "toolkit export model --onnx",
        "toolkit infer photos/ --out labels.csv",
    ):
        assert line in README


def test_ci_runs_the_test_line_of_the_readme() -> None:
    block = re.search(r"<!-- test command -->\n```sh\n(.+?)\n```", README)
    assert block is not None
    assert block[1].endswith(".venv/bin/pytest")
    assert "\n" not in block[1]
