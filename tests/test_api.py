"""The public Python interface."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ROOT, environment

import toolkit


def test_every_public_name_is_there_and_documented() -> None:
    for name in toolkit.__all__:
        value = getattr(toolkit, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name
    assert set(toolkit._HOMES) == set(toolkit.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(toolkit, "no_such_name")


def test_importing_costs_nothing() -> None:
    script = (
        "import sys, toolkit; heavy = {'numpy', 'cv2', 'onnxruntime', 'tensorflow'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(pet_images: Path, tmp_path: Path) -> None:
    block = re.search(
        r"<!-- api -->.*?```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert block is not None
    for kind in ("Cat", "Dog"):
        (tmp_path / "PetImages" / kind).mkdir(parents=True)
        for image in sorted((pet_images / kind).glob("2*.jpg"))[:40]:
            shutil.copy(image, tmp_path / "PetImages" / kind)
    (tmp_path / "photos").mkdir()
    for name in ("1.jpg", "10.jpg"):
        shutil.copy(pet_images / "Dog" / name, tmp_path / "photos")
    script = block[1] + "\nassert set(found.best) <= {'Cat', 'Dog'} and len(found.best) == 2\n"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "labels.csv").is_file()
