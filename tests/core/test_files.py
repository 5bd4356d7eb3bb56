"""A file appears whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import environment

from toolkit.core.files import atomic_write, write_json


def test_what_is_written_becomes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "labels.csv"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == path.suffix
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["labels.csv"]


def test_an_error_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "labels.csv") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "labels.csv").stat().st_mode & 0o777 == 0o640


def test_kill_minus_nine_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("old")
    script = (
        "import sys, time, pathlib\n"
        "from toolkit.core.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    pathlib.Path(sys.argv[2]).touch()\n"
        "    time.sleep(60)\n"
    )
    ready = tmp_path / "ready"
    with subprocess.Popen([sys.executable, "-c", script, path, ready], env=environment()) as process:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_json_keeps_the_bytes_of_names_that_are_not_utf8(tmp_path: Path) -> None:
    content = {"caf\udce9": ["\udcff\udcfe.jpg", "猫\\udce9"]}
    write_json(tmp_path / "names.json", content)
    assert json.loads((tmp_path / "names.json").read_text(encoding="utf-8")) == content
