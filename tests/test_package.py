"""What is installed: the wheel's exact contents, the version, the two ways to start, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from support.command_line import ROOT, run_cli

import toolkit


def test_the_wheel_holds_the_package_and_the_recipes_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    def files(folder: str, inside: str) -> set[str]:
        found = (p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.is_file())
        return {f"{inside}/{p.as_posix()}" for p in found if "__pycache__" not in p.parts}

    info = f"toolkit_images-{toolkit.__version__}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert set(wheel.namelist()) == files("toolkit", "toolkit") | files("models", "toolkit/_recipes") | about


def test_the_wheel_carries_what_the_demo_and_the_recipes_need(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "toolkit/_demo/fashion.zip" in names
    assert "toolkit/_recipes/fashion.toml" in names
    assert "toolkit/py.typed" in names


def test_the_distribution_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    info = f"toolkit_images-{toolkit.__version__}.dist-info"
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "Name: toolkit-images\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert "Requires-Python: <3.14,>=3.11\n" in metadata
    assert wheel.read(f"{info}/entry_points.txt").decode() == "[console_scripts]\ntoolkit = toolkit.__main__:run\n"


def test_python_m_toolkit_prints_the_version(tmp_path: Path) -> None:
    done = run_cli("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"toolkit {toolkit.__version__}\n", "")


def test_a_wrong_option_is_wrong_usage(tmp_path: Path) -> None:
    done = run_cli("split", "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_loads_no_part_of_the_library_that_decodes_or_computes() -> None:
    script = (
        "import sys; sys.argv = ['toolkit', '--help']\n"
        "from toolkit.cli import main\n"
        "code = main()\n"
        "heavy = {'numpy', 'cv2', 'onnx', 'onnxruntime', 'tensorflow', 'keras', 'matplotlib', 'jinja2'}\n"
        "sys.exit(code or ' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
