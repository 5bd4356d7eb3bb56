"""Labels become names of folders in split and sort: every one is looked at before the first file is placed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small
from support.command_line import Cli
from support.result_files import row, write_image, write_table

from toolkit.splitting.folder_names import folder_name, folder_problem

IMPOSSIBLE = [
    "a/b",
    "..",
    ".",
    "a\0b",
    "x" * 300,
    "고" * 100,
    "con",
    "LPT1.txt",
    "a:b",
    "what?",
    "end.",
    "a\\b",
    "\x1b[31m",
]


@pytest.mark.parametrize("label", IMPOSSIBLE)
@pytest.mark.parametrize("extra", [(), ("--mode", "move"), ("--update",)])
def test_all_labels_are_looked_at_before_the_first_file_is_placed(
    label: str, extra: tuple[str, ...], place: Path, run: Cli
) -> None:
    with Path("table.csv").open("w", newline="", encoding="utf-8") as file:
        names = [f"Cat/{i}.png" for i in range(2)] + [f"Dog/{i}.png" for i in range(2)]
        csv.writer(file).writerows([("file_name", "label"), *zip(names, ("A", "A", "Z", label), strict=True)])
    before = small.tree(place / "photos")
    done = run("split", "photos", "--labels", "table.csv", "--out", "parts", "--ratio", "0.5", *extra)
    assert done.code == 3, done.err
    assert "cannot be the name of a folder" in done.err
    assert "\x1b" not in done.err
    assert not Path("parts").exists()
    assert small.tree(place / "photos") == before


@pytest.mark.parametrize("label", IMPOSSIBLE)
def test_sort_finds_a_name_for_every_label(label: str, place: Path, run: Cli) -> None:
    write_table(Path("labels.csv"), [row("photos/Cat/0.png", "A", 0.9), row("photos/Dog/0.png", label, 0.9)])
    done = run("sort", "labels.csv", "--into", "sorted")
    assert done.code == 0, done.err
    assert sum(path.is_file() for path in Path("sorted").rglob("*.png")) == 2
    assert run("sort", "--undo", "--into", "sorted").code == 0
    assert not Path("sorted").exists()


@given(st.text(max_size=400))
def test_the_name_of_a_folder_is_one(label: str) -> None:
    try:
        label.encode()
    except UnicodeEncodeError:
        return
    assert folder_problem(folder_name(label)) == ""


def test_a_label_called_like_a_status_has_a_folder_of_its_own(place: Path, run: Cli) -> None:
    rows = [row(f"photos/{name}/0.png", label, 0.9) for name, label in (("Cat", "empty"), ("Dog", "error"))]
    nothing = {**row("photos/Cat/1.png", "", None), "status": "empty"}
    write_table(Path("labels.csv"), [*rows, nothing])
    assert run("sort", "labels.csv", "--into", "sorted").code == 0
    assert sorted(path.name for path in Path("sorted").iterdir()) == ["empty", "empty (2)", "error (2)", "sort.csv"]


def test_names_of_255_bytes_that_need_another_one(place: Path, run: Cli) -> None:
    """Classes that differ in case only, and one name in two folders: the digest in the new name must fit."""
    long = "고" * 83 + "a.png"
    assert len(long.encode()) == 254
    for k, folder in enumerate(("Owl", "owl", "two/Owl")):
        write_image(Path("birds", folder, "x.png"), (10, 60 * k, 100)).rename(Path("birds", folder, long))
    Path("birds/two").rename("two")
    done = run("split", "birds", "--out", "parts", "--ratio", "0.5")
    assert done.code == 0, done.err
    assert len(list(Path("parts").rglob("*.png"))) == 2
    rows = [row(f"{folder}/{long}", "A", 0.9) for folder in ("birds/Owl", "two/Owl")]
    write_table(Path("labels.csv"), rows)
    assert run("sort", "labels.csv", "--into", "sorted").code == 0
    assert len(list(Path("sorted").rglob("*.png"))) == 2
