"""Folders of files that ask for much, in every command and from Python: memory, time, and a row for each.

What a command takes is held against the same command on as many ordinary images.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from support import small
from support.hostile_files import FILES
from support.measured import Ran, run_measured

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="this system does not say who holds memory"
)

DECODED = ("webp_flat_6000.webp", "tiff_fax.tif", "jpeg_flat_rgb.jpg")
"""Two of them take 200 MB and more."""

REFUSED = (
    "bmp_rle.bmp", "gif_canvas.gif", "jpeg2000_tiles.j2k", "jpeg_scans_small.jpg", "png_chunk_of_4_gb.png",
    "png_declares_more.png", "png_wide.png", "tiff_giant_tile.tif", "tiff_shared_tags.tif", "webp_canvas_lies.webp",
)  # fmt: skip

COSTLY = ("webp_flat_6000.webp", "gif_flat_5000.gif", "jpeg_few_scans.jpg", "avif_flat_4000.avif", "webp_codes.webp")
"""They are decoded, with 200 to 400 MB each."""

MIXED = (
    *REFUSED, "jpeg_declares_more.jpg", "jpeg_stuffed.jpg", "jpeg_tiny_segments.jpg", "jpeg_flat_rgb.jpg",
    "tiff_lzw_declares_more.tif", "tiff_many_samples.tif", "webp_flat.webp", "pnm_return.pgm", "avif_padding.avif",
    "pnm_declares_more.ppm", "png_text_bombs.png", "bmp_declares_more.bmp", "jpeg2000_false_size.jp2",
)  # fmt: skip

UNUSABLE = ("empty", "not_an_image", "truncated", "damaged", "too_large", "unsupported")
"""What `check` says of files that are not decoded."""

TRAIN = """
import json, sys
from pathlib import Path
from toolkit.images.limits import Limits
from toolkit.images.spec import Preprocess
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all
workers, memory, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
limits = Limits.of(max_memory=memory or None)
found = decode_all(find_dataset(folder), Preprocess(height=32, width=32), Path("cache"), workers=workers, limits=limits)
json.dump({sample.path.split("/")[-1]: sample.reason for sample in found.samples}, open("rows.json", "w"))
"""

PREDICT = """
import json, sys
from pathlib import Path
import toolkit
files = sorted(Path(sys.argv[3]).glob("*/*"))
errors = toolkit.load("model.onnx").predict(files).errors
json.dump({path.name: error for path, error in zip(files, errors, strict=True)}, open("rows.json", "w"))
"""

SPLIT = """
import csv, json, sys
import toolkit
options = toolkit.SplitOptions(workers=int(sys.argv[1]), max_memory=sys.argv[2] or None)
toolkit.split(sys.argv[3], options)
"""

COMMANDS = {"infer": "", "evaluate": "", "split": "", "check": "", "train": TRAIN, "predict": PREDICT, "split()": SPLIT}
"""Name -> the program, where it is none of the command line's."""


def run(name: str, folder: Path, place: Path, *, workers: int, memory: str) -> Ran:
    """Run one of `COMMANDS` on `folder` in the empty folder `place`."""
    place.mkdir()
    small.model(place / "model.onnx")
    if program := COMMANDS[name]:
        return run_measured([sys.executable, "-c", program, str(workers), memory, folder], place)
    words: list[str | Path] = [sys.executable, "-m", "toolkit", name, folder, "--out"]
    words += ["rows.csv" if name in ("infer", "check") else "out"]
    words += ["--model", "model.onnx"] if name in ("infer", "evaluate") else []
    words += ["--workers", str(workers)] if name != "evaluate" else []
    words += ["--max-memory", memory] if memory else []
    return run_measured(words, place)


def rows(name: str, place: Path) -> list[tuple[str, str]]:
    """File and what is wrong with it, for each row."""
    if name in ("train", "predict"):
        return list(json.loads((place / "rows.json").read_text()).items())
    table = {"infer": "rows.csv", "check": "rows.csv", "evaluate": "out/predictions.csv", "split": "out/split.csv"}
    path = place / table[name] if name in table else next(place.glob("*-split/split.csv"))
    key = {"infer": "error", "evaluate": "error", "check": "kind"}.get(name, "reason")
    with path.open(encoding="utf-8", newline="") as file:
        found = [(row["path"].split("/")[-1], row[key]) for row in csv.DictReader(file)]
    return [(file, kind) for file, kind in found if name != "check" or kind in UNUSABLE]


def class_folders(root: Path, names: Iterable[str], made: Path) -> Path:
    """Two classes with links to the files of `made`, in turn; names begin with a number."""
    for label in small.LABELS:
        (root / label).mkdir(parents=True)
    for i, name in enumerate(names):
        os.link(made / name, root / small.LABELS[i % 2] / f"{i:03}_{name}")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, each made once."""
    folder = tmp_path_factory.mktemp("made")
    for name in {*DECODED, *REFUSED}:
        (folder / name).write_bytes(FILES[name]())
    for i in range(10):
        (folder / f"ordinary_{i}.png").write_bytes(small.png(i, 300))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_small_folder(name: str, made: Path, tmp_path: Path) -> None:
    ordinary = [f"ordinary_{i}.png" for i in range(10)]
    hostile = class_folders(tmp_path / "hostile", [*DECODED, *REFUSED, *ordinary], made)
    normal = class_folders(tmp_path / "normal", ordinary, made)
    memory = "" if name in ("train", "predict") else "600MB"
    before = run(name, normal, tmp_path / "before", workers=1, memory=memory)
    assert before.code == 0, before.said
    ran = run(name, hostile, tmp_path / "place", workers=1, memory=memory)
    assert ran.code == 0, ran.said
    assert 0 < ran.peak - before.peak < 512 << 20
    assert ran.seconds - before.seconds < 2.0 * len({*DECODED, *REFUSED})
    found = rows(name, tmp_path / "place")
    wrong = {file[4:] for file, reason in found if reason and "ordinary" not in file}
    assert wrong == set(REFUSED)
    if name != "check":  # which has rows for what it finds alone
        assert len(found) == len({file for file, _ in found}) == len(DECODED) + len(REFUSED) + len(ordinary)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_500_files_and_8_workers_stay_within_the_stated_memory(name: str, made: Path, tmp_path: Path) -> None:
    for one in {*COSTLY, *MIXED}:
        if not (made / one).exists():
            (made / one).write_bytes(FILES[one]())
    # What takes much comes side by side, so that all workers want it at once.
    names = [COSTLY[i % len(COSTLY)] if i < 15 else MIXED[i % len(MIXED)] for i in range(490)]
    names += [f"ordinary_{i}.png" for i in range(10)]
    hostile = class_folders(tmp_path / "hostile", names, made)
    normal = class_folders(tmp_path / "normal", [f"ordinary_{i % 10}.png" for i in range(500)], made)
    before = run(name, normal, tmp_path / "before", workers=8, memory="1GB")
    assert before.code == 0, before.said
    ran = run(name, hostile, tmp_path / "place", workers=8, memory="1GB")
    assert ran.code == 0, ran.said
    assert 0 < ran.peak - before.peak < 1_000_000_000
    assert ran.seconds - before.seconds < 2.0 * 500
    found = rows(name, tmp_path / "place")
    if name != "check":
        assert len(found) == len({file for file, _ in found}) == 500
    refused = {file for file, reason in found if reason}
    assert {f"{i:03}_{one}" for i, one in enumerate(names) if one in REFUSED} <= refused


def test_the_helper_sees_memory_that_is_taken(tmp_path: Path) -> None:
    few, many = (
        run_measured([sys.executable, "-c", f"x = b'1' * {n}"], tmp_path).peak for n in (1_000_000, 300_000_000)
    )
    assert 250_000_000 < many - few < 350_000_000
