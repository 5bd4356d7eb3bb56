"""The shape of the code: layers, sizes of modules and packages. A module that breaks them is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ROOT

PACKAGE = ROOT / "toolkit"
MAX_LINES = 400
MAX_MODULES = 14


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_no_module_is_long() -> None:
    long = {str(path.relative_to(ROOT)): n for path in PACKAGE.rglob("*.py")
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES}  # fmt: skip
    assert long == {}


def test_no_package_is_crowded() -> None:
    folders = [folder for folder in PACKAGE.rglob("*") if folder.is_dir()]
    crowded = {folder.name: n for folder in folders if (n := len(modules(folder))) > MAX_MODULES}
    assert crowded == {}


def test_nothing_lies_flat_beside_the_packages() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "api.py", "doctor.py"}


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/text.py", "import toolkit.cli\n", "a package imports only from packages below it BROKEN"),
        (
            "checking/check.py",
            "import toolkit.splitting.split\n",
            "a package imports only from packages below it BROKEN",
        ),
        ("inference/infer.py", "import tensorflow\n", "TensorFlow only in training and exporting BROKEN"),
        ("model_files/contract.py", "import cv2\n", "needs no OpenCV BROKEN"),
        ("core/text.py", "", "Contracts: 3 kept, 0 broken"),
    ],
)
def test_an_import_upwards_is_found(module: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "toolkit", ignore=shutil.ignore_patterns("__pycache__", "*.zip"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "toolkit" / module
    planted.write_text(planted.read_text(encoding="utf-8") + line, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, contract in done.stdout) == (1 if line else 0, True), done.stdout + done.stderr
