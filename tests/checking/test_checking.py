"""`check` on planted faults: each detector's precision and recall on real photos."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import small
from support.command_line import Cli, run_cli
from support.hostile_images import flat_png

from toolkit.checking.check import CheckOptions, check
from toolkit.checking.findings import parse_kinds
from toolkit.checking.page import write_page
from toolkit.core.errors import UsageError
from toolkit.images import near_duplicates as similarity
from toolkit.images.decode import DecodeError, Image


def photos(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.jpg") if path.stat().st_size)


def sound(root: Path) -> list[Path]:
    """Photos without the faults that `PetImages` has."""
    faulty = {"33", "12 (1)", "10404", "10501", "10797", "3333", "5050", "9500"}
    return [path for path in photos(root) if path.stem not in faulty]


def encode(pixels: Image, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def near_copy(pixels: Image, kind: int) -> bytes:
    height, width = pixels.shape[:2]
    top, left = height * 5 // 100, width * 5 // 100
    if kind == 0:
        return encode(pixels, 40)
    if kind == 1:
        return encode(np.asarray(cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8))
    if kind == 2:
        return encode(pixels[top : height - top, left : width - left])
    if kind == 3:
        return encode(np.clip(pixels * 1.3, 0, 255).astype(np.uint8))
    return encode(np.clip(pixels * 0.7, 0, 255).astype(np.uint8))


def test_near_copies_of_500_photos_among_all_the_others(pet_images: Path, flower_photos: Path) -> None:
    """Precision >= 0.95, recall >= 0.90. Pairs of originals that are near copies of each other are no mistakes; there
    are 30 such at most. Those found were looked at one by one: an image that was posted twice, the same one in other
    colours, or two of one series."""
    sketches, planted = [], {}
    usable = []
    for path in (*photos(pet_images), *photos(flower_photos)):
        try:
            sketches.append(similarity.sketch(path.read_bytes()))
            usable.append(path)
        except DecodeError:
            continue
    chosen = np.random.default_rng(4).permutation(len(usable))[:500].tolist()
    for kind, i in enumerate(chosen):
        pixels = np.asarray(cv2.imread(str(usable[i]), cv2.IMREAD_COLOR), np.uint8)
        planted[i, len(sketches)] = kind % 5
        sketches.append(similarity.sketch(near_copy(pixels, kind % 5)))
    found = {(pair.first, pair.second) for pair in similarity.near_pairs(sketches)}
    among_originals = {pair for pair in found if pair[1] < len(usable)}
    twins = {i: {i} for i in range(len(usable))}
    for i, j in among_originals:
        twins[i].add(j)
        twins[j].add(i)
    of = {copy: original for original, copy in planted}
    wrong = {(i, j) for i, j in found - among_originals if of.get(i, i) not in twins[of[j]]}
    hits = set(planted) & found
    assert len(hits) / 500 >= 0.90
    assert len(hits) / (len(hits) + len(wrong)) >= 0.95
    assert len(among_originals) <= 30


@pytest.mark.usefixtures("real_images")
def test_planted_faults_of_pet_images(pet_images: Path, tmp_path: Path) -> None:
    done = run_cli("check", pet_images, "--out", "f.csv", "--html", "f.html", "--fail-on", "leak", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, set[frozenset[str]]] = {}
    for row in rows:
        found.setdefault(row["kind"], set()).add(frozenset({row["path"], row["partner"]} - {""}))
    assert found["empty"] == {frozenset({"Cat/666.jpg"}), frozenset({"Dog/11702.jpg"})}
    assert found["truncated"] == {frozenset({"Cat/10404.jpg"})}
    assert found["not_an_image"] == {frozenset({p}) for p in ("Dog/9500.jpg", "Cat/Thumbs.db", "Dog/Thumbs.db")}
    assert found["extension"] == {frozenset({"Cat/10501.jpg"}), frozenset({"Dog/10797.jpg"})}
    assert found["duplicate"] == {frozenset({"Dog/12.jpg", "Dog/12 (1).jpg"})}
    assert found["two_labels"] == {frozenset({"Cat/33.jpg", "Dog/3333.jpg"})}
    # Looked at: 10501 is 40 in grey, 10797 is 41, and 73 and 179 are one photo of four puppies with their names.
    assert found["near_duplicate"] == {
        frozenset({"Dog/50.jpg", "Dog/5050.jpg"}),
        frozenset({"Cat/40.jpg", "Cat/10501.jpg"}),
        frozenset({"Dog/41.jpg", "Dog/10797.jpg"}),
        frozenset({"Dog/73.jpg", "Dog/179.jpg"}),
    }
    page = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 12
    assert "http" not in page
    failed = run_cli("check", pet_images, "--quiet", "--fail-on", "two_labels,leak", cwd=tmp_path)
    assert failed.returncode == 6
    assert failed.stdout == ""


@pytest.mark.parametrize("kind", ["dark", "bright", "blank", "blurred", "grey", "odd_size", "odd_shape", "truncated"])
def test_each_detector_on_planted_faults(kind: str, pet_images: Path, tmp_path: Path) -> None:
    """100 photos as they are and 25 others spoiled: recall and precision >= 0.9 (0.8 for blur)."""
    root = tmp_path / "pets"
    spoiled = set()
    for label in ("Cat", "Dog"):
        (root / label).mkdir(parents=True)
    for place, path in enumerate([*photos(pet_images / "Cat")[:63], *photos(pet_images / "Dog")[:63]]):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            continue
        target = root / path.parent.name / path.name
        if place % 5:
            shutil.copy(path, target)
        else:
            target.write_bytes(spoil(np.asarray(pixels, np.uint8), kind))
            spoiled.add(f"{path.parent.name}/{path.name}")
    found = {finding.path for finding in check(root, CheckOptions(few=0)).findings if finding.kind == kind}
    least = 0.8 if kind == "blurred" else 0.9
    assert len(found & spoiled) / len(spoiled) >= least
    assert len(found & spoiled) / len(found) >= least


@pytest.mark.parametrize("kind", ["empty", "not_an_image", "damaged", "extension", "duplicate", "two_labels"])
def test_detectors_that_do_not_judge_make_no_mistake(kind: str, pet_images: Path, tmp_path: Path) -> None:
    """80 photos of cats and dogs, of which every fifth is spoiled: recall and precision 1."""
    root, spoiled = tmp_path / "pets", set()
    usable = {label: sound(pet_images / label)[:40] for label in ("Cat", "Dog")}
    for label, other in (("Cat", "Dog"), ("Dog", "Cat")):
        (root / label).mkdir(parents=True)
        for place, path in enumerate(usable[label]):
            data = path.read_bytes()
            if place % 5 == 0:
                data = break_file(data, kind, usable[other if kind == "two_labels" else label][place + 1].read_bytes())
                spoiled.add(f"{label}/{path.name}")
            (root / label / path.name).write_bytes(data)
    found = [finding for finding in check(root).findings if finding.kind == kind]
    pairs = {frozenset({finding.path, finding.partner}) - {""} for finding in found}
    assert len(pairs) == len(found) == len(spoiled)
    assert all(len(pair & spoiled) == 1 for pair in pairs)


def break_file(data: bytes, kind: str, other: bytes) -> bytes:
    """The bytes of a photo, broken; `other` is a photo that is not."""
    if kind == "empty":
        return b""
    if kind == "not_an_image":
        return b"<!DOCTYPE html><title>404</title>"
    if kind == "damaged":
        tables = data.index(b"\xff\xc4")
        return data[: tables + 2] + b"\xff" * 40 + data[tables + 42 :]
    if kind == "extension":
        pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        return cv2.imencode(".png", pixels)[1].tobytes()
    return other


def spoil(pixels: Image, kind: str) -> bytes:
    height, width = pixels.shape[:2]
    if kind == "truncated":
        return encode(pixels)[:-2000]
    if kind == "dark":
        return encode((pixels * 0.15).astype(np.uint8))
    if kind == "bright":
        return encode((255 - (255 - pixels.astype(np.float32)) * 0.15).astype(np.uint8))
    if kind == "blank":
        return encode((120 + pixels * 0.02).astype(np.uint8))
    if kind == "grey":
        return encode(np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8))
    if kind == "blurred":
        spread = 4 * min(height, width) / 256
        return encode(np.asarray(cv2.GaussianBlur(pixels, (0, 0), spread), np.uint8))
    if kind == "odd_size":
        return encode(np.asarray(cv2.resize(pixels, (60, 60), interpolation=cv2.INTER_AREA), np.uint8))
    return encode(pixels[: width // 5] if height > width // 5 else pixels)


@pytest.mark.usefixtures("real_images")
def test_leaks_between_the_parts_of_a_split(pet_images: Path, tmp_path: Path) -> None:
    """All of 20 exact and 20 near copies in two parts are found, and nothing else, whichever of the two is named."""
    planted = set()
    for label in ("Cat", "Dog"):
        train, val = (tmp_path / "tree" / part / label for part in ("train", "val"))
        train.mkdir(parents=True)
        val.mkdir(parents=True)
        for place, path in enumerate(sound(pet_images / label)[:60]):
            shutil.copy(path, (train, val)[place >= 40])
            if place < 10:
                shutil.copy(path, val)
            elif place < 20:
                pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)
                (val / path.name).write_bytes(near_copy(pixels, place % 5))
            if place < 20:
                planted.add(frozenset({f"train/{label}/{path.name}", f"val/{label}/{path.name}"}))
    result = check(tmp_path / "tree", CheckOptions(few=13))
    leaks = [frozenset({finding.path, finding.partner}) for finding in result.findings if finding.kind == "leak"]
    assert len(leaks) == len(set(leaks))
    assert set(leaks) == planted
    assert result.classes == {"Cat": 80, "Dog": 80}


def test_a_split_tree_of_ours_has_nothing_to_warn_of(tmp_path: Path) -> None:
    small.folders(tmp_path / "pets")
    assert run_cli("split", "pets", "--ratio", "0.5", "--quiet", cwd=tmp_path).returncode == 0
    done = run_cli("check", "pets-split", "--out", "findings.csv", cwd=tmp_path)
    assert "warning" not in done.stderr
    assert "no_class" not in (tmp_path / "findings.csv").read_text(encoding="utf-8")
    (tmp_path / "pets-split/train/loose.png").write_bytes(small.png(77))
    found = check(tmp_path / "pets-split").findings
    assert [finding.path for finding in found if finding.kind == "no_class"] == ["train/loose.png"]


def test_classes_that_are_small_or_out_of_balance(pet_images: Path, tmp_path: Path) -> None:
    for label, n in (("Cat", 30), ("Dog", 4)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for path in photos(pet_images / label)[:n]:
            shutil.copy(path, tmp_path / "pets" / label)
    counts = check(tmp_path / "pets").counts()
    assert counts["few_images"] == counts["imbalance"] == 1


def test_the_page_escapes_hostile_names(pet_images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets" / "<script>alert(1)<"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(pet_images / "Cat/0.jpg", folder / name)
    write_page(check(tmp_path / "pets"), tmp_path / "page.html")
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_unknown_kinds() -> None:
    with pytest.raises(UsageError, match="no such kind"):
        parse_kinds("duplicate,leek")


def test_the_page_keeps_to_the_memory_of_the_run(tmp_path: Path, run: Cli) -> None:
    data = small.folders(tmp_path / "data")
    (data / "Cat" / "large.png").write_bytes(flat_png(4_000, 8, 2))
    for memory, shown in (("1GB", True), ("40MB", False)):
        page = tmp_path / f"{memory}.html"
        assert run("check", data, "--out", f"{memory}.csv", "--html", page, "--max-memory", memory).code == 0
        assert ('alt="Cat/large.png"' in page.read_text()) is shown
