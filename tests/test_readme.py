"""The README: lines that others rely on stand in it, and it stays a first page. All its lines: docs/test_lines.py."""

from __future__ import annotations

import re

from support.command_line import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_it_is_a_first_page_and_no_manual() -> None:
    assert len(README.splitlines()) <= 160
    for image in re.findall(r"!\[[^\]]+\]\((.+?)\)", README):
        assert (ROOT / image).is_file(), image


def test_its_images_fetch_nothing_and_name_no_place_of_a_machine() -> None:
    session = (ROOT / "docs" / "images" / "session.svg").read_text(encoding="utf-8")
    assert "@font-face" not in session
    assert not re.search(r"/(root|home|tmp|work)/", session)
    assert "toolkit&#160;infer" in session or "toolkit infer" in session
