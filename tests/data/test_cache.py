"""`toolkit cache`: what is kept, how old it is, and that only that is removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support import small
from support.command_line import run_cli

from toolkit.core.errors import UsageError
from toolkit.data.cache import cache_entries, parse_age
from toolkit.images.spec import Preprocess
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all

KEY = "0123456789abcdef"
MODEL = f"imagenet-{KEY[:12]}-{KEY}.onnx"


def fill(folder: Path) -> None:
    """Decoded images of today, a model of 40 days ago, an unpacked archive of 3 days ago, and somebody's own file."""
    for name, days in ((f"Pets-{KEY}/{2 * KEY}.u8", 0), (f"models/{MODEL}", 40), (f"archives/Pets-{KEY}/a/b.jpg", 3)):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1_500_000))
        os.utime(path, (time.time() - 86400 * days,) * 2)
    (folder / "mine").mkdir()
    (folder / "mine/letter.txt").write_text("mine")


def test_shows_and_clears(tmp_path: Path) -> None:
    fill(tmp_path)
    done = run_cli("cache", "--cache-dir", tmp_path, cwd=tmp_path)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["decoded", "images", "of", "Pets", "1.5", "MB", "today"],
        ["the", "unpacked", "archive", "Pets", "1.5", "MB", "3", "days"],
        ["the", "model", "imagenet", "1.5", "MB", "40", "days"],
    ]
    assert done.stderr == f"{tmp_path}: 4.5 MB in the cache\n"
    done = run_cli("cache", "--clear", "--older-than", "30d", TOOLKIT_CACHE=str(tmp_path), cwd=tmp_path)
    assert done.stderr == f"{tmp_path}: 1.5 MB removed\n"
    assert [entry.holds for entry in cache_entries(tmp_path)] == [
        "decoded images of Pets",
        "the unpacked archive Pets",
    ]
    assert run_cli("cache", "--verbose", "--cache-dir", tmp_path, cwd=tmp_path).stdout.count(str(tmp_path)) == 2
    run_cli("cache", "--clear", "--cache-dir", tmp_path, cwd=tmp_path)
    assert cache_entries(tmp_path) == []
    assert (tmp_path / "mine/letter.txt").read_text() == "mine"
    assert run_cli("cache", "--cache-dir", tmp_path / "no", cwd=tmp_path).returncode == 0


def test_like_things_are_told_apart(tmp_path: Path) -> None:
    keys = (KEY, KEY[::-1])
    for key in keys:
        (tmp_path / f"photos-{key}").mkdir()
        (tmp_path / f"photos-{key}" / f"{2 * KEY}.u8").write_bytes(b"1")
    done = run_cli("cache", "--cache-dir", tmp_path, cwd=tmp_path)
    assert sorted(line.split()[-1] for line in done.stdout.splitlines()) == sorted(f"photos-{key}" for key in keys)


def test_what_somebody_else_keeps_there_is_not_removed(tmp_path: Path) -> None:
    """Any folder may be named as the cache, such as that of a project with `models` and `archives` of its own."""
    for name in (
        "models/mine.onnx", "models/fashion.toml", "models/deep/own.h5", "archives/2024/a.jpg", "archives/a.zip",
        f"photos-{KEY}/letter.txt", f"photos-{KEY}/{2 * KEY}.u8", f"empty-{KEY[:8]}/x",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    before = small.tree(tmp_path)
    done = run_cli("cache", "--clear", "--cache-dir", tmp_path, cwd=tmp_path)
    assert done.stderr == f"{tmp_path}: 0.0 MB removed\n"
    assert small.tree(tmp_path) == before


def test_all_that_trainings_and_models_leave_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    decoded = decode_all(find_dataset(small.folders(tmp_path / "photos")), Preprocess(height=8, width=8), cache)
    names = [
        decoded.path.with_name(f"{decoded.path.stem}-{KEY}.f32"),
        decoded.path.with_name(f".{decoded.path.name}.a_c0efgh.tmp.u8"),
        cache / "models" / MODEL,
    ]
    for path in names:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert run_cli("cache", "--clear", "--cache-dir", cache, cwd=tmp_path).returncode == 0
    assert [path.name for path in cache.iterdir()] == ["models"]
    assert not list((cache / "models").iterdir())


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1.5d", "30 days", ""])
def test_wrong_ages(text: str) -> None:
    with pytest.raises(UsageError, match="older-than"):
        parse_age(text)


def test_ages() -> None:
    assert [parse_age(text) for text in ("12h", "30d", "2w")] == [43200, 2592000, 1209600]
