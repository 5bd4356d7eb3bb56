"""Every line that a page tells the reader to type works, or it is said why it is not run here.

The lines of the README are run first, in their order, in a folder with a few real images. Each other page begins with a
copy of that folder, so that one small bundle is trained for all of them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.command_line import ROOT, environment
from support.page_world import furnish, prepare, shell
from support.pages import PAGES, SHELLS, Block, blocks

NOT_RUN = {
    r"python3 -m venv .*\.venv/bin/toolkit demo": "installs; the demo itself: tests/cli/test_demo.py",
    r"python3 -m venv .*": ".ci/run does it",
    r"pip install .*": "installs; tests/docs/test_lines.py looks whether the extras exist",
    r".*--quantize int8": "limits that so small a bundle need not meet: tests/exporting/test_exporting.py",
    r".*model/model\.int8\.onnx.*": "the same; tests/evaluation/test_comparing.py, tests/sessions/test_runtimes.py",
    r"toolkit review labels\.csv": "runs until it is ended: tests/reviewing/test_review.py",
    r"toolkit review .*--from label-studio.*": "takes what a team exported: tests/reviewing/test_label_studio.py",
    r"toolkit bench .*": "measures for a minute: tests/benchmark/test_bench.py",
    r".*--device cuda.*": "needs GPUs: tests/sessions/test_cuda.py",
    r".*--precision bfloat16.*": "needs a processor that has it: tests/sessions/test_runtimes.py",
    r".*(s3|gs|az|https)://.*|.*< urls\.txt": "needs a server: tests/inference/test_object_storage.py",
    r".*--engine ray.*": "needs a cluster: tests/scaling/test_ray.py",
    r".*(s3|gs|az|https)://.*|toolkit infer - --out labels.csv < urls.txt": "tests/inference/test_object_storage.py",
    r"toolkit train .*--weights .*": "the file is not here: tests/training/test_transfer.py",
    r"toolkit train .*--time-budget .*": "trains long: tests/training/test_several.py",
    r"toolkit train photos .*|toolkit train PetImages .*": "train once more: tests/training/test_label_sources.py",
    r"toolkit train flower_photos": "the README trains the same, with --out",
    r"toolkit train flower_photos --recipe mine\.toml --out mine": "recipes.md trains another recipe of its own",
    r"toolkit export model --onnx --kit": "tests/exporting/test_kit.py",
}
"""Lines, as patterns -> why they are not run here, and which test does it."""
ELSEWHERE = {
    ("scaling.md", "bash"): "tests/scaling/test_job_files.py",
    ("scaling.md", "python"): "tests/scaling/test_batch_labeller.py",
    ("edge.md", "python"): "tests/docs/test_clients.py",
    ("python.md", "python"): "tests/test_api.py",
}
"""Page and language of blocks that another test runs."""
MAY_FAIL = {
    # Trained on so few images the model may miss the gate; then, and only then, the metric is named.
    "toolkit evaluate PetImages-split --fail-under accuracy=0.9,recall:Dog=0.85": r"(accuracy|recall:Dog) is 0\.",
}
DOCS = [page for page in PAGES if page.parent == ROOT / "docs"]


def reason(block: Block, line: str) -> str:
    """Why a line is not run here; "" where it is."""
    given = block.reason or ELSEWHERE.get((block.page.name, block.language), "")
    return given or next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, line)), "")


def to_run(page: Path) -> list[str]:
    found = [line for b in blocks(page) if b.language in SHELLS for line in b.lines if not reason(b, line)]
    return list(dict.fromkeys(found))


def run_all(lines: list[str], folder: Path, ran: set[str]) -> None:
    """Run `lines`, but no training and no export that was run before."""
    failed = []
    for line in lines:
        if line in ran and re.match(r"toolkit (train|export) ", line):
            continue
        ran.add(line)
        done = shell(line, folder)
        missed = line in MAY_FAIL and done.returncode == 6 and re.search(MAY_FAIL[line], done.stderr)
        if (done.returncode and not missed) or "Traceback" in done.stderr:
            failed.append(f"{line}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    assert not failed, "\n".join(failed)


@pytest.fixture(scope="module")
def ran() -> set[str]:
    """The lines that were run."""
    return set()


@pytest.fixture(scope="module")
def world(
    pet_images: Path, flower_photos: Path, cell_images: Path, ran: set[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder in which the lines of the README were run."""
    folder = tmp_path_factory.mktemp("pages") / "readme"
    folder.mkdir()
    furnish(folder, pet_images, flower_photos, cell_images)
    run_all(to_run(ROOT / "README.md"), folder, ran)
    return folder


@pytest.mark.slow
def test_the_lines_of_the_readme(world: Path) -> None:
    assert len(to_run(ROOT / "README.md")) >= 6
    assert (world / "model" / "model.onnx").is_file()
    assert (world / "labels.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.stem))
def test_the_lines_of_a_page(page: Path, world: Path, ran: set[str]) -> None:
    lines = to_run(page)
    scripts = [b.text for b in blocks(page) if b.language == "python" and not reason(b, "")]
    if not lines and not scripts:
        return
    folder = world.parent / page.stem
    shutil.copytree(world, folder)
    prepare(page.name, folder)
    run_all(lines, folder, ran)
    for script in scripts:
        subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, env=environment())
    shutil.rmtree(folder)


def test_every_line_that_is_not_run_says_why_and_where() -> None:
    known = [(b, line) for page in PAGES for b in blocks(page) if b.language in SHELLS for line in b.lines]
    for pattern, why in NOT_RUN.items():
        assert any(re.fullmatch(pattern, line) for _, line in known), f"no such line any more: {pattern}"
        for place in re.findall(r"tests/\S+\.py", why):
            assert (ROOT / place).is_file(), place
    for place in ELSEWHERE.values():
        assert (ROOT / place).is_file(), place
    assert sum(not reason(block, line) for block, line in known) > 45


def test_extras_that_a_page_installs_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r"(?:toolkit-images|'\.)\[([a-z0-9,-]+)\]", page.read_text(encoding="utf-8")):
            assert set(named.split(",")) <= set(extras), f"{page.name}: {named}"
