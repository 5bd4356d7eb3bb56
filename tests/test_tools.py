"""The scripts of development, run for what they promise, without the network."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.util
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
