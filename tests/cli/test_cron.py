"""The crontab of README and docs/cron.md, run as cron runs it: `/bin/sh`, no terminal, hardly an environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import ROOT
from support.onnx_networks import contract, write_conv_network

from toolkit.core.locking import lock


@pytest.fixture
def place(pet_images: Path, tmp_path: Path) -> Path:
    """A folder with a bundle's model and an archive of photos, and the program at a path of its own."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "model").mkdir()
    write_conv_network(tmp_path / "model" / "model.onnx", contract(), convolutions=())
    for n in range(12):
        shutil.copy2(pet_images / "Cat" / f"{n}.jpg", tmp_path / "archive")
    program = tmp_path / "bin" / "toolkit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m toolkit "$@"\n')
    program.chmod(0o755)
    return tmp_path


def crontab() -> list[str]:
    """The lines of the README's crontab."""
    block = re.search(r"```cron\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def readme_line(place: Path, command: str = "infer") -> str:
    """A command of it, as it stands in a crontab, with its paths put where they are in this test."""
    (found,) = [line.split("  ", 1)[1] for line in crontab() if f"/toolkit {command} " in line]
    return found.replace("/srv/photos", str(place)).replace("/opt/toolkit/bin", str(place / "bin"))


def cron(place: Path, command: str = "infer") -> subprocess.CompletedProcess[str]:
    """Run a line of the README as cron does: up to the first bare percent sign, the escaped ones unescaped."""
    line = re.split(r"(?<!\\)%", readme_line(place, command))[0].replace(r"\%", "%")
    return subprocess.run(
        ["env", "-i", "HOME=/nonexistent", "PATH=/usr/bin:/bin", "SHELL=/bin/sh", "/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def log(place: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (place / "labels.log").read_text().splitlines()]


def test_the_page_about_cron_has_the_same_crontab() -> None:
    page = (ROOT / "docs" / "cron.md").read_text()
    assert "```cron\n" + "\n".join(crontab()) + "\n```" in page
    for line in crontab()[3:]:
        assert re.match(r"\d+ \d+ \* \* [\d*]  cd /srv/photos && /opt/toolkit/bin/toolkit \w+ ", line), line
        assert not re.search(r"(?<!\\)%", line), line


def test_sundays(place: Path, pet_images: Path) -> None:
    """The split is made, joined by a new image, and left alone; nothing is mailed."""
    for kind in ("Cat", "Dog"):
        (place / "PetImages" / kind).mkdir(parents=True)
        for n in range(20, 26):
            shutil.copy2(pet_images / kind / f"{n}.jpg", place / "PetImages" / kind)
    for n_images in (12, 12, 13):
        if n_images == 13:
            shutil.copy2(pet_images / "Dog" / "1.jpg", place / "PetImages" / "Dog")
        sunday = cron(place, "split")
        assert (sunday.returncode, sunday.stdout, sunday.stderr) == (0, "", "")
        assert len(list((place / "PetImages-split").rglob("*.jpg"))) == n_images


def test_nights(place: Path, pet_images: Path) -> None:
    """A first night, a quiet one, one with a new photo, one with too many faults, one with another run."""
    nights = [cron(place)]
    before = (place / "labels.csv").read_bytes()
    nights.append(cron(place))
    assert (place / "labels.csv").read_bytes() == before
    shutil.copy2(pet_images / "Dog" / "1.jpg", place / "archive" / "new.jpg")
    nights.append(cron(place))
    for night in nights:
        assert (night.returncode, night.stdout, night.stderr) == (0, "", "")
    assert [(line["files"], line["unchanged"], line["new"]) for line in log(place)] == [
        (12, 0, 12),
        (12, 12, 0),
        (13, 12, 1),
    ]

    shutil.copy2(pet_images / "Dog" / "9500.jpg", place / "archive")
    trouble = cron(place)
    assert "1 of 14 files failed, 0 were allowed" in trouble.stdout
    assert log(place)[-1]["exit_code"] == 6
    with lock(place / "labels.csv"):
        trouble = cron(place)
    assert "another run" in trouble.stdout
    assert log(place)[-1]["exit_code"] == 7
    shutil.rmtree(place / "archive")
    old = (place / "labels.csv").read_bytes()
    assert "archive: expected a file or a folder, found nothing" in cron(place).stdout
    assert (place / "labels.csv").read_bytes() == old


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cron") is None, reason="no cron daemon on this machine (apt-get install cron)")
@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs root, to start a cron daemon")
def test_under_a_real_cron(place: Path) -> None:
    """The line in a real crontab: it runs within a minute, to its end, and its log says so."""
    table = Path("/etc/cron.d") / f"toolkit-test-{os.getpid()}"
    table.write_text(f"SHELL=/bin/sh\nPATH=/usr/bin:/bin\n* * * * *  root  {readme_line(place)}\n")
    table.chmod(0o644)
    daemon = subprocess.Popen(["cron", "-f"], stdin=subprocess.DEVNULL)  # it ends at once where another one runs
    try:
        until = time.monotonic() + 300
        while time.monotonic() < until and not (place / "labels.csv").exists():
            time.sleep(1)
        assert (place / "labels.csv").exists()
        assert log(place)[0]["event"] == "finished"
    finally:
        table.unlink()
        daemon.terminate()
        daemon.wait()
