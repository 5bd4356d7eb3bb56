"""`split` on real folders and archives."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import run_cli

from toolkit.errors import InputError, UsageError
from toolkit.split_plan import parse_ratio
from toolkit.splitting import SplitOptions, split


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


def test_archive_and_folder_split_alike(data_dir: Path, flower_photos: Path, tmp_path: Path) -> None:
    options = {"ratio": parse_ratio("0.8"), "seed": 123}
    split(data_dir / "flower_photos.tgz", SplitOptions(out=tmp_path / "archive", **options))  # type: ignore[arg-type]
    split(flower_photos, SplitOptions(out=tmp_path / "folder", **options))  # type: ignore[arg-type]
    assert (tmp_path / "archive/split.csv").read_bytes() == (tmp_path / "folder/split.csv").read_bytes()


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
