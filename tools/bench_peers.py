"""`check` against cleanvision and fastdup, `infer` against Ultralytics: what each finds, and medians of one run.

    python tools/bench_peers.py PHOTOS [--peers PYTHON ...] [--rounds 3] [--only check|infer]

PHOTOS is a folder of at least 1,200 photos. The peers are optional: each is looked for in the `--peers` interpreters,
so that they can have an environment of their own, and what is not installed is said.

check   1,000 sound photos with planted faults, 20 of each kind: exact copies, copies that are smaller and saved again,
        copies that are cropped by 4 % at each side, dark, bright and blurred ones, ones of a single colour; then the
        same tree with 20 broken files (empty, cut off, HTML, random bytes). Thresholds are each tool's own. fastdup
        gives the mean and a measure of sharpness without thresholds: here 13, 220.5 and 50, as is usual with it.
infer   the same architecture on both sides, Ultralytics' `yolo11n-cls` with random weights (its trained ones are
        downloaded from GitHub), 224x224: its `predict` in batches of 32, and `toolkit infer` on the ONNX file that
        Ultralytics exports and `toolkit adopt` takes. Whole processes, each writes a table of label and confidence.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

N_SOUND, N_PLANTED = 1000, 20
BROKEN = ("empty", "truncated", "damaged", "not_an_image", "unreadable", "unsupported")
COPIES = ("duplicate", "near_duplicate", "two_labels")

CLEANVISION = """
import json, sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues(n_jobs=2, verbose=False)
named = {"copies": ["exact_duplicates", "near_duplicates"], "dark": ["dark"], "bright": ["light"],
         "blurred": ["blurry"], "blank": ["low_information"]}
found = {kind: sorted({path for name in names for path in lab.issues.index[lab.issues[f"is_{name}_issue"]]})
         for kind, names in named.items()}
json.dump(found, open(sys.argv[2], "w"))
"""

FASTDUP = """
import json, sys, fastdup
lab = fastdup.create(work_dir=sys.argv[2] + ".work", input_dir=sys.argv[1])
lab.run(num_threads=2, overwrite=True, print_summary=False)
pairs, stats = lab.similarity(), lab.img_stats()
pairs = pairs[pairs.distance >= 0.96]  # its own `ccthreshold`
found = {"copies": sorted({*pairs.filename_from, *pairs.filename_to}), "dark": list(stats.filename[stats["mean"] < 13]),
         "bright": list(stats.filename[stats["mean"] > 220.5]), "blurred": list(stats.filename[stats.blur < 50]),
         "broken": list(lab.invalid_instances().filename)}
json.dump(found, open(sys.argv[2], "w"))
"""

EXPORT = """
import sys
from ultralytics import YOLO
YOLO("yolo11n-cls.yaml").export(format="onnx", imgsz=224, dynamic=True)
"""

PREDICT = """
import csv, sys
from ultralytics import YOLO
model = YOLO("yolo11n-cls.yaml")
with open(sys.argv[2], "w", newline="") as file:
    table = csv.writer(file)
    options = dict(imgsz=224, batch=32, stream=True, verbose=False, device="cpu")
    for result in model.predict(sys.argv[1] + "/**/*.jpg", **options):
        table.writerow([result.path, result.names[result.probs.top1], float(result.probs.top1conf)])
"""


def write(path: Path, pixels: np.ndarray, quality: int = 92) -> None:
    path.write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def sound_photos(source: Path, n: int) -> list[Path]:
    """`n` JPEGs that OpenCV decodes, no two of the same bytes, in a fixed random order."""
    paths = sorted(source.rglob("*.jpg"))
    random.Random(0).shuffle(paths)
    seen: dict[bytes, Path] = {}
    for path in paths:
        data = path.read_bytes()
        whole = data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")
        if whole and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None:
            seen.setdefault(data, path)
        if len(seen) == n:
            return list(seen.values())
    raise SystemExit(f"{source}: {len(seen):,} sound JPEGs, {n:,} are needed")


def plant(source: Path, tree: Path) -> dict[str, set[str]]:
    """The tree of sound photos with planted faults -> kind: the names of its files."""
    (tree / "all").mkdir(parents=True)
    photos = iter(sound_photos(source, N_SOUND + 3 * N_PLANTED))
    planted: dict[str, set[str]] = defaultdict(set)
    originals = [next(photos) for _ in range(N_SOUND)]
    for i, path in enumerate(originals):
        (tree / "all" / f"{i}.jpg").write_bytes(path.read_bytes())
    for i in range(N_PLANTED):
        for j, kind in enumerate(("exact copies", "smaller copies", "cropped copies")):
            path = originals[3 * i + j]
            target = tree / "all" / f"{3 * i + j} {kind}.jpg"
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
            assert pixels is not None
            if kind == "exact copies":
                target.write_bytes(path.read_bytes())
            elif kind == "smaller copies":
                write(target, cv2.resize(pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), 70)
            else:
                top, left = (round(0.04 * side) for side in pixels.shape[:2])
                write(target, pixels[top:-top, left:-left])
            planted[kind].add(target.name)
        for kind in ("dark", "bright", "blurred"):
            pixels = cv2.imread(str(next(photos)), cv2.IMREAD_COLOR).astype(np.float32)
            if kind == "blurred":
                changed = cv2.GaussianBlur(pixels, (0, 0), min(pixels.shape[:2]) / 40)
            else:
                changed = pixels * 0.1 if kind == "dark" else 255 - (255 - pixels) * 0.1
            write(tree / "all" / f"{i} {kind}.jpg", changed.astype(np.uint8))
            planted[kind].add(f"{i} {kind}.jpg")
        write(tree / "all" / f"{i} blank.jpg", np.full((300, 400, 3), 60 + 7 * i, np.uint8))
        planted["blank"].add(f"{i} blank.jpg")
    return planted


def plant_broken(tree: Path) -> set[str]:
    """Broken files into the tree -> their names."""
    data = (tree / "all" / "999.jpg").read_bytes()
    rng = random.Random(1)
    contents = (b"", data[: len(data) // 2], b"<!DOCTYPE html><html><body>404</body></html>", rng.randbytes(20_000))
    for i in range(N_PLANTED):
        (tree / "all" / f"{i} broken.jpg").write_bytes(contents[i % len(contents)])
    return {f"{i} broken.jpg" for i in range(N_PLANTED)}


def timed(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Seconds on the clock and of the processor, and the last line of what went wrong."""
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, errors="replace")
    wall, after = time.perf_counter() - begun, os.times()
    wrong = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()[-1] if done.returncode else ""
    return wall, after.children_user + after.children_system - before.children_user - before.children_system, wrong


def interpreter(package: str, candidates: list[str]) -> str | None:
    """The first interpreter that imports `package`; prints its version."""
    wrong = "not installed"
    for python in candidates:
        code = f"import {package}, importlib.metadata as m; print(m.version('{package}'))"
        done = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
        if not done.returncode:
            print(f"{package} {done.stdout.splitlines()[-1]}", flush=True)
            return python
        last = done.stderr.strip().splitlines()[-1]
        wrong = wrong if f"'{package}'" in last else last
    print(f"{package}: {wrong}", flush=True)
    return None


def medians(sides: dict[str, list[str]], folder: Path, rounds: int) -> dict[str, float]:
    """Runs all sides in turn -> the median seconds of each; prints them."""
    taken: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, command in sides.items():
            wall, cpu, wrong = timed(command, folder)
            if wrong:
                raise SystemExit(f"{name}: {wrong}")
            taken[name].append((wall, cpu))
    walls = {name: statistics.median(wall for wall, _ in runs) for name, runs in taken.items()}
    for name, runs in taken.items():
        cpu = statistics.median(cpu for _, cpu in runs)
        ratio = walls[name] / walls["toolkit"]
        print(f"  {name:12} {walls[name]:6.1f} s, processor {cpu:6.1f} s, {ratio:.1f} times toolkit's", flush=True)
    return walls


def found_by(name: str, out: Path) -> dict[str, set[str]]:
    """Kind -> the names of the files that the tool lists."""
    if name != "toolkit":
        return {kind: {Path(p).name for p in paths} for kind, paths in json.loads(out.read_text()).items()}
    found: dict[str, set[str]] = defaultdict(set)
    with out.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kind = "copies" if row["kind"] in COPIES else "broken" if row["kind"] in BROKEN else row["kind"]
            found[kind] |= {Path(path).name for path in (row["path"], row["partner"]) if path}
    return found


def report(name: str, found: dict[str, set[str]], planted: dict[str, set[str]]) -> None:
    """How many of each planted kind were found, and how many other files are listed."""
    faulty = set().union(*planted.values())
    originals = {f"{name.split()[0]}.jpg" for kind, names in planted.items() if "copies" in kind for name in names}
    cells = []
    for kind, names in planted.items():
        listed = found.get("copies" if "copies" in kind else kind)
        cells.append(f"{kind} -" if listed is None else f"{kind} {len(listed & names)}")
    print(f"  {name:12} {', '.join(cells)} of {N_PLANTED} each", flush=True)
    others = {kind: len(names - faulty - originals) for kind, names in found.items()}
    print(f"  {'':12} other files: {', '.join(f'{kind} {n}' for kind, n in sorted(others.items()) if n) or 'none'}")


def check(source: Path, candidates: list[str], rounds: int, folder: Path) -> None:
    tree = folder / "tree"
    outs = {
        name: folder / f"{name}.{'csv' if name == 'toolkit' else 'json'}"
        for name in ("toolkit", "cleanvision", "fastdup")
    }
    sides = {"toolkit": [sys.executable, "-m", "toolkit", "check", str(tree), "--quiet", "--out", str(outs["toolkit"])]}
    for name, code in (("cleanvision", CLEANVISION), ("fastdup", FASTDUP)):
        if python := interpreter(name, candidates):
            sides[name] = [python, "-c", code, str(tree), str(outs[name])]
    planted = plant(source, tree)
    print(f"check, {N_SOUND:,} photos and {N_PLANTED * len(planted)} planted faults, median of {rounds}")
    medians(sides, folder, rounds)
    for name in sides:
        report(name, found_by(name, outs[name]), planted)
    planted = {"broken": plant_broken(tree)}
    print("with broken files")
    for name, command in sides.items():
        outs[name].unlink()
        _, _, wrong = timed(command, folder)
        if wrong:
            print(f"  {name:12} stops: {wrong}")
        else:
            found = found_by(name, outs[name]).get("broken", set())
            print(f"  {name:12} broken {len(found & planted['broken'])} of {N_PLANTED}", flush=True)


def infer(source: Path, candidates: list[str], rounds: int, folder: Path) -> None:
    python = interpreter("ultralytics", candidates)
    if not python:
        return
    images = folder / "images"
    images.mkdir()
    for i, path in enumerate(sound_photos(source, N_SOUND)):
        (images / f"{i}.jpg").write_bytes(path.read_bytes())
    subprocess.run([python, "-c", EXPORT], cwd=folder, check=True, capture_output=True)
    toolkit = [sys.executable, "-m", "toolkit"]
    adopt = [*toolkit, "adopt", "yolo11n-cls.onnx", "--preset", "ultralytics", "--out", "adopted.onnx", "--quiet"]
    subprocess.run(adopt, cwd=folder, check=True)
    print(f"infer, yolo11n-cls at 224x224, {N_SOUND:,} photos, median of {rounds}")
    label = [*toolkit, "infer", str(images), "--device", "cpu", "--model", "adopted.onnx", "--out", "labels.csv"]
    sides = {"toolkit": label, "ultralytics": [python, "-c", PREDICT, str(images), "ultralytics.csv"]}
    medians(sides, folder, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--peers", nargs="+", default=[], help="interpreters that have the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["check", "infer"])
    arguments = parser.parse_args()
    candidates = [sys.executable, *(str(Path(python).absolute()) for python in arguments.peers)]
    for name, compare in (("check", check), ("infer", infer)):
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                compare(arguments.photos, candidates, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
