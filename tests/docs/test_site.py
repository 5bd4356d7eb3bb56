"""The pages as a site: it builds without a warning, and fetches nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ROOT, environment
from support.pages import PAGES

pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'toolkit-images[docs]'")


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = environment(NO_MKDOCS_2_WARNING="1", PYTHONWARNINGS="default")
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in PAGES if page.parent == ROOT / "docs"} <= pages
    assert {"index", "accuracies", "architecture", "changelog"} <= pages
    for page in (tmp_path / "site").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert not fetched, (page.name, fetched)
