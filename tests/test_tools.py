"""The scripts of development, run for what they promise, without the network."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.util
import re
import struct
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from support.command_line import ROOT

Array = npt.NDArray[np.uint8]


def script(name: str) -> ModuleType:
    """`tools/<name>.py` as a module."""
    found = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # where dataclasses look
    found.loader.exec_module(module)
    return module


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the loopback address that serves it."""
    folder = tmp_path / "published"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def idx(array: Array) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


def test_archives_are_fetched_once_and_whole(
    publisher: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = publisher
    fetch = script("fetch_data")
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    labels = np.array([3, 1, 3, 9, 0], np.uint8)
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    (folder / "cells").write_bytes(b"cells")
    monkeypatch.setattr(fetch, "FASHION", address)
    monkeypatch.setattr(fetch, "PLAIN", {"cells": ("cell_images.zip", f"{address}/cells")})
    monkeypatch.setattr(sys, "argv", ["fetch_data.py", str(tmp_path / "data")])
    fetch.main()
    assert (tmp_path / "data" / "cell_images.zip").read_bytes() == b"cells"
    with zipfile.ZipFile(tmp_path / "data" / "fashion_mnist_images.zip") as archive:
        assert len(archive.namelist()) == 10
        packed = np.frombuffer(archive.read("fashion_mnist_images/train/3/0001.png"), np.uint8)
    assert (cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE) == images[2]).all()
    capsys.readouterr()
    for name in folder.iterdir():
        name.unlink()
    fetch.main()
    assert capsys.readouterr().out.count("is there") == 2


def test_a_download_that_fails_leaves_nothing(
    publisher: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = script("fetch_data")
    monkeypatch.setattr(fetch, "PLAIN", {"cells": ("cell_images.zip", f"{publisher[1]}/gone")})
    monkeypatch.setattr(sys, "argv", ["fetch_data.py", str(tmp_path / "data"), "cells"])
    with pytest.raises(SystemExit, match="gone: HTTP Error 404"):
        fetch.main()
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "version", "words"),
    [
        ("# Changelog\n\n## 0.1.0\n\n- old\n", "0.2.0", "Unreleased"),
        ("# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- old\n", "0.2.0", "nothing is unreleased"),
        ("# Changelog\n\n## Unreleased\n\n- new\n\n## 0.1.0\n\n- old\n", "0.1.0", "0.1.0 is there"),
    ],
)
def test_a_release_without_changes_is_refused(text: str, version: str, words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        script("release").cut_changelog(text, version, dt.date(2026, 1, 2))


def test_a_release_sets_the_version_in_one_place() -> None:
    release = script("release")
    text = (ROOT / "toolkit" / "__init__.py").read_text(encoding="utf-8")
    changed = release.set_version(text, "12.3.4")
    assert '\n__version__ = "12.3.4"\n' in changed
    with pytest.raises(SystemExit, match="expected a version"):
        release.set_version(text, "v12")


def test_the_readme_of_a_release_links_to_what_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = "https://example.org/me/it/blob/v1"
    changed = script("release").absolute_links(text, pages)
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", changed)
    assert len(links) > 20
    for link in links:
        assert link.startswith(("https://", "http://", "#")), link
    assert "](https://example.org/me/it/raw/v1/docs/images/report.png)" in changed
    assert changed.replace(f"{pages}/", "").replace(f"{pages.replace('/blob/', '/raw/')}/", "") == text


def test_every_line_of_reliability_names_tests_that_are_there() -> None:
    lines, environments = script("reliability").read_table()
    assert len(lines) > 30
    for line in lines:
        assert line.tests or line.environment or line.audit, f"not tried: {line.what}"
        assert line.environment in ("", *(e.name for e in environments))
        for place in line.tests:
            file, _, function = place.partition("::")
            path = ROOT / "tests" / file
            assert path.exists(), place
            assert not function or f"def {function}(" in path.read_text(encoding="utf-8"), place


def test_a_line_says_what_its_run_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reliability = script("reliability")
    monkeypatch.setattr(reliability, "RUNS", tmp_path)
    monkeypatch.setattr(reliability, "AUDIT", tmp_path / "audit.txt")
    line = partial(reliability.Line, section="s", how="h")
    lines = [
        line(what="held", tests=("a.py",)),
        line(what="broke", tests=("b.py::test_b",)),
        line(what="skipped", tests=("c.py",)),
        line(what="absent", tests=("d.py",)),
        line(what="none"),
        line(what="elsewhere", environment="lowest"),
        line(what="audit", audit=True),
    ]
    (tmp_path / "tests.xml").write_text(
        '<testsuite><testcase classname="tests.a" name="test_a[1]"><properties><property name="cases" value="2000"/>'
        '</properties></testcase><testcase classname="tests.b" name="test_b"><failure/></testcase>'
        '<testcase classname="tests.c" name="test_c"><skipped/></testcase></testsuite>'
    )
    (tmp_path / "lowest.xml").write_text('<testsuite><testcase classname="tests.a" name="test_a"/></testsuite>')
    (tmp_path / "audit.txt").write_text("ConnectionError")
    rows = [row.split("|") for row in reliability.page(lines, [tmp_path / "tests.xml"]).splitlines()]
    found = {row[1].strip(): (row[3].strip(), row[4].strip()) for row in rows if len(row) == 6}
    assert found["held"] == ("2,000", "holds")
    assert found["broke"] == ("1", "**1 failed**")
    assert found["skipped"][1] == "skipped here"
    assert found["absent"][1] == "not run this time"
    assert found["none"][1] == "**not tried**"
    assert found["elsewhere"] == ("1", "holds")
    assert "no answer" in found["audit"][1]
