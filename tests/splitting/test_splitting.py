"""`split` on real folders and archives."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tarfile
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.command_line import run_cli

from toolkit.core.errors import InputError, UsageError
from toolkit.splitting import place as split_folder
from toolkit.splitting.mode import Mode
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.plan import parse_ratio
from toolkit.splitting.split import split


def read_table(out: Path) -> list[dict[str, str]]:
    with (out / "split.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pet_images_as_a_user_types_it(pet_images: Path, tmp_path: Path) -> None:
    (tmp_path / "PetImages").symlink_to(pet_images)
    first = run_cli("split", "PetImages", "--ratio", "0.9", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    rows = read_table(tmp_path / "PetImages-split")
    assert len(rows) == len({row["path"] for row in rows}) == 1211
    left_out = {row["path"]: row["reason"] for row in rows if not row["subset"]}
    assert left_out["Cat/666.jpg"] == left_out["Dog/11702.jpg"] == "empty"
    assert left_out["Cat/10404.jpg"] == "truncated"
    assert left_out["Dog/9500.jpg"] == "not_an_image"
    assert left_out["Cat/Thumbs.db"] == left_out["Dog/Thumbs.db"] == "not_an_image"
    placed = [
        p.relative_to(tmp_path / "PetImages-split").as_posix() for p in (tmp_path / "PetImages-split").rglob("*/*/*")
    ]
    assert sorted(placed) == sorted(row["target"] for row in rows if row["target"])
    for label in ("Cat", "Dog"):
        counts = Counter(row["subset"] for row in rows if row["label"] == label and row["subset"])
        assert counts["train"] == sum(counts.values()) * 9 // 10
    again = run_cli("split", "PetImages", "--ratio", "0.9", cwd=tmp_path)
    assert again.returncode == 0
    assert "left alone" in again.stderr


def test_flowers_split_alike_from_archive_and_folder_and_under_other_names(
    data_dir: Path, flower_photos: Path, tmp_path: Path
) -> None:
    def run(source: Path, name: str) -> bytes:
        split(source, SplitOptions(out=tmp_path / name, ratio=parse_ratio("0.8"), seed=123))
        return (tmp_path / name / "split.csv").read_bytes()

    archive = run(data_dir / "flower_photos.tgz", "archive")
    assert run(data_dir / "flower_photos.tgz", "again") == archive
    assert run(flower_photos, "folder") == archive
    for place, path in enumerate(sorted(flower_photos.glob("*/*.jpg"))):
        target = tmp_path / "renamed" / path.parent.name / f"{place * 7919 % 3989:04}.JPG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    run(tmp_path / "renamed", "other names")
    assert mapping(tmp_path / "other names") == mapping(tmp_path / "archive")


def test_another_split_is_never_written_into(pet_images: Path, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    for label in ("Cat", "Dog"):
        (source / label).mkdir(parents=True)
        for i in range(5):
            shutil.copy(pet_images / label / f"{i}.jpg", source / label)
    out = tmp_path / "out"
    split(source, SplitOptions(out=out, seed=1))
    with pytest.raises(InputError, match="holds another split"):
        split(source, SplitOptions(out=out, seed=2))
    assert split(source, SplitOptions(out=out, seed=2, force=True)).done
    with pytest.raises(UsageError):
        split(source, SplitOptions(out=source / "split"))


@pytest.fixture
def pets(pet_images: Path, tmp_path: Path) -> Path:
    """Ten cats and ten dogs that may be changed."""
    for label in ("Cat", "Dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(10):
            shutil.copy2(pet_images / label / f"{i}.jpg", tmp_path / "pets" / label)
    return tmp_path / "pets"


def mapping(out: Path) -> dict[str, str]:
    return {row["sha256"]: row["subset"] for row in read_table(out) if row["subset"]}


def test_planted_faults_of_pet_images(pet_images: Path, tmp_path: Path) -> None:
    result = split(pet_images, SplitOptions(out=tmp_path / "out", dry_run=True, near_duplicates=True))
    left_out = {row.path: row.reason for row in result.left_out}
    assert left_out["Dog/12 (1).jpg"] == "duplicate"
    assert left_out["Cat/33.jpg"] == left_out["Dog/3333.jpg"] == "two_labels"
    assert len(left_out) == 9
    assert {row.path for row in result.flagged} == {"Cat/10501.jpg", "Dog/10797.jpg"}
    subset = {row.path: row.subset for row in result.rows}
    assert subset["Dog/50.jpg"] == subset["Dog/5050.jpg"] != ""
    assert result.deviations() == []
    assert not (tmp_path / "out").exists()


def test_renaming_every_file_keeps_the_mapping(pets: Path, tmp_path: Path) -> None:
    split(pets, SplitOptions(out=tmp_path / "before"))
    for place, path in enumerate(sorted(pets.rglob("*.jpg"))):
        path.rename(path.with_name(f"image {place * 7919 % 101:03}.jpg"))
    split(pets, SplitOptions(out=tmp_path / "after"))
    assert mapping(tmp_path / "before") == mapping(tmp_path / "after")


def test_update_moves_nothing_and_keeps_what_has_gone(pets: Path, pet_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    split(pets, SplitOptions(out=out, ratio=parse_ratio("0.5")))
    before = mapping(out)
    for i in range(10, 30):
        shutil.copy2(pet_images / "Cat" / f"{i}.jpg", pets / "Cat")
    (pets / "Dog/3.jpg").unlink()
    with pytest.raises(InputError, match="source has changed"):
        split(pets, SplitOptions(out=out, ratio=parse_ratio("0.5")))
    result = split(pets, SplitOptions(out=out, ratio=parse_ratio("0.5"), update=True))
    assert result.outcome == "updated"
    after = mapping(out)
    assert {sha: after[sha] for sha in before} == before
    assert result.counts()["Cat"] == {"train": 15, "validation": 15}
    assert next(row.note for row in result.rows if row.path == "Dog/3.jpg") == "no longer in the source"
    assert split(pets, SplitOptions(out=out, ratio=parse_ratio("0.5"))).outcome == "unchanged"


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_modes(pets: Path, tmp_path: Path, mode: Mode) -> None:
    originals = {p.relative_to(pets): (p.stat().st_ino, p.stat().st_mtime_ns) for p in pets.rglob("*.jpg")}
    options = SplitOptions(out=tmp_path / "out", mode=mode)
    result = split(pets, options)
    for row in result.rows:
        target, inode, mtime = tmp_path / "out" / row.target, *originals[Path(row.path)]
        assert (pets / row.path).exists() == (mode is not Mode.MOVE)
        assert target.is_symlink() == (mode is Mode.SYMLINK)
        assert target.stat().st_mtime_ns == mtime
        assert (target.stat().st_ino == inode) == (mode is not Mode.COPY)
    assert split(pets, options).outcome == "unchanged"
    if mode is Mode.MOVE:
        with pytest.raises(InputError):
            split(pets, SplitOptions(out=tmp_path / "out", mode=mode, force=True, seed=5))
        assert len(list((tmp_path / "out").rglob("*.jpg"))) == 20


@pytest.mark.parametrize("before", [Mode.COPY, Mode.HARDLINK])
@pytest.mark.parametrize("mode", [Mode.COPY, Mode.MOVE])
def test_force_with_another_mode_does_what_the_mode_says(pets: Path, tmp_path: Path, before: Mode, mode: Mode) -> None:
    out = tmp_path / "out"
    split(pets, SplitOptions(out=out, mode=before))
    split(pets, SplitOptions(out=out, mode=mode, force=True))
    assert len(list(pets.rglob("*.jpg"))) == (0 if mode is Mode.MOVE else 20)
    assert [path.stat().st_nlink for path in out.rglob("*.jpg")] == [1] * 20


@pytest.mark.parametrize(("mode", "step"), [(Mode.COPY, "copy"), (Mode.MOVE, "place")])
def test_a_run_that_died_half_way_is_completed(
    pets: Path, tmp_path: Path, mode: Mode, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = split(pets, SplitOptions(out=tmp_path / "whole"))
    placed: list[tuple[Any, ...]] = []

    def place(*arguments: Any) -> None:
        if len(placed) == 7:
            raise KeyboardInterrupt
        placed.append(arguments)
        real_place(*arguments)

    real_place = getattr(split_folder, step)
    with monkeypatch.context() as patched:
        patched.setattr(split_folder, step, place)
        with pytest.raises(KeyboardInterrupt):
            split(pets, SplitOptions(out=tmp_path / "out", mode=mode))
    assert not (tmp_path / "out/split.csv").exists()
    result = split(pets, SplitOptions(out=tmp_path / "out", mode=mode))
    assert result.outcome == "completed"
    assert [row.printed() for row in result.rows] == [row.printed() for row in whole.rows]
    assert sum(p.is_file() for p in (tmp_path / "out").rglob("*.jpg")) == 20


def die_after(n: int, step: str, source: Path, options: SplitOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """`split` that is stopped when `n` files are in their places."""
    real, left = getattr(split_folder, step), [None] * n

    def counted(*arguments: Any) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(split_folder, step, counted)
        with pytest.raises(KeyboardInterrupt):
            split(source, options)


@pytest.fixture
def moved(pets: Path, pet_images: Path, tmp_path: Path) -> Path:
    """A split by --mode move, after which ten new images came into the source."""
    split(pets, SplitOptions(out=tmp_path / "moved", mode=Mode.MOVE))
    for i in range(10, 20):
        shutil.copy2(pet_images / "Cat" / f"{i}.jpg", pets / "Cat")
    return tmp_path / "moved"


def test_an_update_that_copies_and_died_copies_on_beside_moved_originals(
    pets: Path, moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SplitOptions(out=moved, mode=Mode.COPY, update=True)
    die_after(3, "copy", pets, options, monkeypatch)
    assert split(pets, options).outcome == "completed"
    assert len(list(pets.rglob("*.jpg"))) == 10
    assert len(list(moved.rglob("*.jpg"))) == 30


def test_what_a_move_that_died_had_moved_keeps_its_row_with_other_settings(
    pets: Path, moved: Path, pet_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_after(3, "place", pets, SplitOptions(out=moved, mode=Mode.MOVE, update=True), monkeypatch)
    shutil.copy2(pet_images / "Cat/20.jpg", pets / "Cat")
    split(pets, SplitOptions(out=moved, mode=Mode.MOVE, update=True, seed=5))
    placed = sorted(path.relative_to(moved).as_posix() for path in moved.rglob("*.jpg"))
    assert placed == sorted(row["target"] for row in read_table(moved))
    assert len(placed) == 31


def test_a_new_image_with_the_name_of_a_moved_one_does_not_replace_it(
    pets: Path, moved: Path, pet_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SplitOptions(out=moved, mode=Mode.MOVE, update=True)
    die_after(3, "place", pets, options, monkeypatch)
    namesake = next(pets / f"Cat/{i}.jpg" for i in range(10, 20) if not (pets / f"Cat/{i}.jpg").exists())
    shutil.copy2(pet_images / "Cat/20.jpg", namesake)
    assert split(pets, options).outcome == "completed"
    assert namesake.read_bytes() == (pet_images / "Cat/20.jpg").read_bytes()
    rows = [row for row in read_table(moved) if row["path"] == f"Cat/{namesake.name}"]
    assert [(moved / row["target"]).read_bytes() for row in rows] == [(pet_images / "Cat" / namesake.name).read_bytes()]


def test_unusual_names_each_have_their_outcome(pets: Path, tmp_path: Path) -> None:
    korean = "한국"
    odd = {
        f"{unicodedata.normalize('NFC', korean)}/a.jpg": "Cat/0.jpg",
        f"{unicodedata.normalize('NFD', korean)}/a.jpg": "Cat/1.jpg",
        "Cat/nested/deep/0.jpg": "Cat/2.jpg",
        'Cat/new\nline , "quoted".jpg': "Cat/3.jpg",
        "Cat/latin\udce9.jpg": "Cat/4.jpg",
        "Cat/.hidden.jpg": "Cat/5.jpg",
        "loose.jpg": "Cat/6.jpg",
    }
    for name, original in odd.items():
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / original).rename(pets / name)
    (pets / "Dog/pipe.jpg").parent.mkdir(exist_ok=True)
    os.mkfifo(pets / "Dog/pipe.jpg")
    (pets / "Dog/broken.jpg").symlink_to("nowhere.jpg")
    (pets / "Dog/loop").symlink_to("..")
    result = split(pets, SplitOptions(out=tmp_path / "out"))
    rows = {row.path: row for row in result.rows}
    assert rows["Cat/.hidden.jpg"].reason == "hidden"
    assert rows["loose.jpg"].reason == "no_class"
    assert rows["Dog/pipe.jpg"].reason == "not_a_file"
    assert rows["Dog/broken.jpg"].reason == "unreadable"
    assert set(result.counts()) == {"Cat", "Dog", korean}
    targets = [row.target for row in result.rows if row.target]
    assert len(targets) == len(set(targets)) == 18
    assert all((tmp_path / "out" / target).is_file() for target in targets)
    assert any(row["path"] == "Cat/latin\\xe9.jpg" for row in read_table(tmp_path / "out"))
    assert split(pets, SplitOptions(out=tmp_path / "out")).outcome == "unchanged"


def test_hostile_archives(pets: Path, tmp_path: Path) -> None:
    archive = tmp_path / "pets.tar.gz"
    with tarfile.open(archive, "w:gz") as tarred:
        tarred.add(pets, "pets")
        link = tarfile.TarInfo("pets/Cat/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tarred.addfile(link)
        device = tarfile.TarInfo("pets/Cat/device.jpg")
        device.type = tarfile.CHRTYPE
        tarred.addfile(device)
        outside = tarfile.TarInfo("pets/Cat/../../../outside.jpg")
        data = (pets / "Cat/0.jpg").read_bytes()
        outside.size = len(data)
        tarred.addfile(outside, io.BytesIO(data))
    result = split(archive, SplitOptions(out=tmp_path / "out"))
    refused = [row for row in result.rows if row.reason == "refused"]
    assert len(refused) == 3
    assert sum(bool(row.subset) for row in result.rows) == 20
    assert not (tmp_path.parent / "outside.jpg").exists()
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for i in range(6):
            zipped.writestr(f"Cat/{i}.jpg", bytes(200_000_000))
    with pytest.raises(InputError, match="bomb"):
        split(tmp_path / "bomb.zip", SplitOptions(out=tmp_path / "bombed"))
    (tmp_path / "short.tgz").write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        split(tmp_path / "short.tgz", SplitOptions(out=tmp_path / "short"))
    whole = archive.read_bytes()
    for part in (0.1, 0.5, 0.9):  # the images may all be readable still; gzip's checksum knows better
        at = int(len(whole) * part)
        (tmp_path / "flipped.tgz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match="damaged"):
            split(tmp_path / "flipped.tgz", SplitOptions(out=tmp_path / "flipped"))
        assert not (tmp_path / "flipped").exists()


def test_strict_and_groups_on_the_command_line(pets: Path, tmp_path: Path) -> None:
    assert run_cli("split", pets, "--group-by", "nothing", cwd=tmp_path).returncode == 2
    assert run_cli("split", pets, "--group-by", "(", cwd=tmp_path).returncode == 2
    (pets / "Cat/note.jpg").write_text("no image")
    strict = run_cli("split", pets, "--strict", cwd=tmp_path)
    assert strict.returncode == 3
    assert "Cat/note.jpg" in strict.stderr
    assert not (tmp_path / "pets-split").exists()
    plan = run_cli("split", pets, "--dry-run", cwd=tmp_path)
    assert "left out: Cat/note.jpg: not an image: text" in plan.stdout


def test_a_file_that_no_split_placed_is_never_replaced(tmp_path: Path, pet_images: Path) -> None:
    for kind in ("Cat", "Dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for image in sorted((pet_images / kind).glob("3*.jpg"))[:6]:
            shutil.copy(image, tmp_path / "pets" / kind)
    out = tmp_path / "out"
    split(tmp_path / "pets", SplitOptions(out=out, ratio=parse_ratio("0.5")))
    for part in ("train", "validation"):
        (out / part / "Dog" / "zz.jpg").write_text("mine")
    shutil.copy(pet_images / "Dog" / "40.jpg", tmp_path / "pets" / "Dog" / "zz.jpg")
    for options in (SplitOptions(out=out, ratio=parse_ratio("0.5"), update=True), SplitOptions(out=out, force=True)):
        with pytest.raises(InputError, match="in the way"):
            split(tmp_path / "pets", options)
        assert (out / "train" / "Dog" / "zz.jpg").read_text() == "mine"
        assert (out / "validation" / "Dog" / "zz.jpg").read_text() == "mine"


def test_a_split_without_a_image_is_an_error(tmp_path: Path, pet_images: Path) -> None:
    (tmp_path / "photos" / "empty").mkdir(parents=True)
    shutil.copy(pet_images / "Dog" / "40.jpg", tmp_path / "photos")
    with pytest.raises(InputError):
        split(tmp_path / "photos", SplitOptions(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_other_labels_in_a_table_are_refused_by_update(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(8):
        (photos / f"{i}.png").write_bytes(small.png(i))
    table, line = tmp_path / "labels.csv", ("split", "photos", "--labels", "labels.csv", "--ratio", "0.5")
    rows = [f"{i}.png,{('Cat', 'Dog')[i % 2]}" for i in range(8)]
    table.write_text("\n".join(["file_name,label", *rows]))
    assert run_cli(*line, cwd=tmp_path).returncode == 0
    before = small.tree(tmp_path / "photos-split")
    for changed, now in (
        (["0.png,Dog", *rows[1:]], "'Dog'"),
        (["0.png,", *rows[1:]], "no label"),
        (rows[1:], "no label"),
    ):
        table.write_text("\n".join(["file_name,label", *changed]))
        done = run_cli(*line, "--update", cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert f"1 image of this split has other labels now, such as 0.png: 'Cat' in the split, {now} in" in done.stderr
        assert "--force" in done.stderr
        assert small.tree(tmp_path / "photos-split") == before
    table.write_text("\n".join(["file_name,label", "0.png,Dog", *rows[1:]]))
    assert "(0 files new, 0 gone, 1 with another label)" in run_cli(*line, cwd=tmp_path).stderr
    assert run_cli(*line, "--force", cwd=tmp_path).returncode == 0
    assert list((tmp_path / "photos-split").glob("*/Dog/0.png"))
