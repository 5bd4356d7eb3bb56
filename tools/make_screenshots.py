"""Make the images of the README from a real run: `python tools/make_screenshots.py [--keep FOLDER]`

docs/images/session.svg   a terminal with what the commands printed, by rich's export
docs/images/report.png    the report page of that run, as Chromium shows it

The run takes the 2,000 images that come with the package and about a minute and a half on two cores. `--keep` names a
folder for it that stays. Needs the extra `train`, Pillow, and `chromium` or `google-chrome` on the path.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from toolkit.cli.machine.demo import unpack_images

ROOT: Final = Path(__file__).parent.parent
IMAGES: Final = ROOT / "docs" / "images"
WIDTH: Final = 120
SESSION: Final = (
    "toolkit split fashion --ratio 0.9",
    "toolkit train fashion-split",
    "toolkit export model --onnx",
    "toolkit infer fashion-split/validation --out labels.csv",
    "head -n 4 labels.csv | cut -d , -f 1-5",
    "toolkit evaluate fashion-split",
)
PAGE: Final = "evaluation/report.html"
WINDOW: Final = (1200, 1110)


def record(folder: Path) -> Console:
    """Run the session in `folder`; a console that has recorded each command and what it printed."""
    unpack_images(folder)
    console = Console(record=True, width=WIDTH, force_terminal=True, file=(folder / "session.txt").open("w"))
    shim = folder / "bin" / "toolkit"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m toolkit "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TOOLKIT_CACHE": "cache", "COLUMNS": str(WIDTH)}
    for line in SESSION:
        print(f"$ {line}")
        console.print(Text("$ ", style="bold green") + Text(line, style="bold"))
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=folder,
            env=variables,
            text=True,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        print(done.stdout)
        console.print(Text(done.stdout.rstrip()), soft_wrap=False)
        console.print()
    return console


def write_svg(console: Console, target: Path) -> None:
    """The recording as an SVG that fetches nothing: the reader's own monospace font takes the place of a web font."""
    plain = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="toolkit", theme=MONOKAI, code_format=plain, unique_id="session")
    if "http" in svg.replace("http://www.w3.org", "").replace("https://www.textualize.io", ""):
        raise SystemExit("the SVG would fetch something: the template of rich has changed")
    target.write_text(svg, encoding="utf-8")


def take_screenshot(page: Path, target: Path) -> None:
    """The top of `page` in a headless Chromium, with 256 colours."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no chromium and no google-chrome on the path")
    size = ",".join(map(str, WINDOW))
    switches = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}")
    command = [browser, *switches, f"--screenshot={target}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    Image.open(target).convert("RGB").quantize(256).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    folder = parser.parse_args().keep
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary) / "session"
        write_svg(record(folder), IMAGES / "session.svg")
        take_screenshot(folder / PAGE, IMAGES / "report.png")
    for image in sorted(IMAGES.iterdir()):
        print(f"{image.relative_to(ROOT)}: {image.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
