"""`toolkit sort --undo`: the last copy of an image is never removed, whatever was done to the folders since."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.command_line import run_cli
from support.result_files import row, write_table

from toolkit.core.errors import InputError
from toolkit.sorting import SortOptions, sort, undo
from toolkit.splitting.mode import Mode

SORTED = Path("sorted")
JOURNAL = SORTED / "sort.csv"
SOURCE = Path("photos/Cat/0.jpg")
TARGET = SORTED / "Cat/0.jpg"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images of one label, in the working directory."""
    monkeypatch.chdir(tmp_path)
    SOURCE.parent.mkdir(parents=True)
    for number in range(3):
        (SOURCE.parent / f"{number}.jpg").write_bytes(b"image %d" % number)
    return write_table(tmp_path / "labels.csv", [row(f"photos/Cat/{n}.jpg", "Cat", 0.9) for n in range(3)])


def contents() -> set[bytes]:
    """The bytes of every image anywhere."""
    return {path.read_bytes() for path in Path().rglob("*.jpg") if path.is_file()}


def names_left(*names: str) -> None:
    """Undo leaves and names these files alone, and the journal still lists them, so that it does so again."""
    for _ in range(2):
        assert sorted(path for path, _ in undo(SORTED).kept) == sorted(str(SORTED / name) for name in names)
        assert len(JOURNAL.read_text().splitlines()) == 1 + len(names)


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.COPY, Mode.HARDLINK])
def test_a_link_in_place_of_the_original(table: Path, mode: Mode) -> None:
    before = contents()
    sort(table, SortOptions(into=SORTED, mode=mode))
    SOURCE.unlink(missing_ok=True)
    SOURCE.symlink_to(TARGET.absolute())
    names_left("Cat/0.jpg")
    assert contents() == before
    assert TARGET.read_bytes() == b"image 0"


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.COPY, Mode.HARDLINK])
def test_a_link_in_place_of_the_folder(table: Path, mode: Mode) -> None:
    before = contents()
    sort(table, SortOptions(into=SORTED, mode=mode))
    shutil.rmtree(SOURCE.parent)
    SOURCE.parent.symlink_to((SORTED / "Cat").absolute())
    if mode is Mode.MOVE:
        sort(table, SortOptions(into=SORTED, mode=mode))
        assert contents() == before
    names_left("Cat/0.jpg", "Cat/1.jpg", "Cat/2.jpg")
    assert contents() == before


def test_a_file_moved_back_by_hand_with_a_link_left(table: Path) -> None:
    before = contents()
    sort(table, SortOptions(into=SORTED, mode=Mode.MOVE))
    TARGET.rename(SOURCE)
    TARGET.symlink_to(SOURCE.absolute())
    again = sort(table, SortOptions(into=SORTED, mode=Mode.MOVE))
    assert [path for path, _ in again.failed] == [str(SOURCE)]
    assert contents() == before
    names_left("Cat/0.jpg")
    assert SOURCE.read_bytes() == b"image 0"


def test_two_ways_to_one_file_are_no_two_copies(table: Path) -> None:
    """The folder of the label is the link."""
    before = contents()
    sort(table, SortOptions(into=SORTED, mode=Mode.MOVE))
    for path in (SORTED / "Cat").iterdir():
        path.rename(SOURCE.parent / path.name)
    (SORTED / "Cat").rmdir()
    (SORTED / "Cat").symlink_to(SOURCE.parent.absolute())
    assert len(sort(table, SortOptions(into=SORTED, mode=Mode.MOVE)).failed) == 3
    assert contents() == before
    names_left("Cat/0.jpg", "Cat/1.jpg", "Cat/2.jpg")
    assert contents() == before


@pytest.mark.parametrize("content", [b"", b"other 0", b"something else"])
def test_an_original_that_was_changed_protects_no_copy(table: Path, content: bytes) -> None:
    sort(table, SortOptions(into=SORTED))
    SOURCE.write_bytes(content)
    names_left("Cat/0.jpg")
    assert TARGET.read_bytes() == b"image 0"


@pytest.mark.parametrize("mode", [Mode.COPY, Mode.HARDLINK])
def test_an_original_that_always_was_a_link(table: Path, mode: Mode) -> None:
    SOURCE.rename("elsewhere.jpg")
    SOURCE.symlink_to(Path("elsewhere.jpg").absolute())
    sort(table, SortOptions(into=SORTED, mode=mode))
    assert undo(SORTED).n_files == 3
    assert SOURCE.read_bytes() == b"image 0"
    assert not SORTED.exists()


@pytest.mark.parametrize("mode", [Mode.COPY, Mode.MOVE])
@pytest.mark.parametrize(
    "target", ["Cat/../../mine.jpg", "../mine.jpg", "{absolute}", "Cat/a/mine.jpg", "mine.jpg", ""]
)
def test_a_journal_that_names_other_places(table: Path, mode: Mode, target: str) -> None:
    sort(table, SortOptions(into=SORTED, mode=mode))
    mine = Path("mine.jpg")
    shutil.copy2(TARGET, mine)
    target = target.format(absolute=mine.absolute())
    stray = Path(".sorting-mine")
    stray.touch()
    JOURNAL.write_text(JOURNAL.read_text().replace("Cat/0.jpg,Cat/0.jpg", f"Cat/0.jpg,{target}"))
    assert target in JOURNAL.read_text()
    undone = undo(SORTED)
    assert (undone.n_files, len(undone.kept)) == (2, 1)
    assert mine.read_bytes() == TARGET.read_bytes() == b"image 0"
    assert stray.exists()
    assert JOURNAL.exists()


def test_sort_places_nothing_outside_its_folder(table: Path) -> None:
    sort(table, SortOptions(into=SORTED))
    TARGET.unlink()
    JOURNAL.write_text(JOURNAL.read_text().replace("Cat/0.jpg,Cat/0.jpg", "Cat/0.jpg,Cat/../../mine.jpg"))
    again = sort(table, SortOptions(into=SORTED))
    assert [path for path, _ in again.failed] == [str(SOURCE)]
    assert not Path("mine.jpg").exists()


def test_a_label_folder_that_became_a_link(table: Path) -> None:
    sort(table, SortOptions(into=SORTED))
    (SORTED / "Cat").rename("archive")
    (SORTED / "Cat").symlink_to(Path("archive").absolute())
    names_left("Cat/0.jpg", "Cat/1.jpg", "Cat/2.jpg")
    assert len(list(Path("archive").iterdir())) == 3


@pytest.mark.parametrize(("old", "new"), [(",copy,", ",teleport,"), ("Cat/1.jpg,copy", "Cat/1\0.jpg,copy")])
def test_what_no_journal_says(table: Path, old: str, new: str, tmp_path: Path) -> None:
    sort(table, SortOptions(into=SORTED))
    JOURNAL.write_text(JOURNAL.read_text().replace(old, new))
    with pytest.raises(InputError, match="not the journal"):
        undo(SORTED)
    assert run_cli("sort", "--undo", "--into", "sorted", cwd=tmp_path).returncode == 3
    assert len(list((SORTED / "Cat").iterdir())) == 3


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_a_dry_run_writes_nothing(table: Path, mode: Mode, tmp_path: Path) -> None:
    sort(table, SortOptions(into=SORTED, mode=mode))
    before = {path: os.lstat(path).st_mtime_ns for path in sorted(Path().rglob("*"))}
    done = run_cli("sort", "--undo", "--into", "sorted", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Cat: 3\n"
    assert "sorted: 3 files to take back, nothing written (--dry-run)" in done.stderr
    assert {path: os.lstat(path).st_mtime_ns for path in sorted(Path().rglob("*"))} == before
    assert undo(SORTED).n_files == 3


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_a_file_that_was_moved_by_hand_is_named(table: Path, mode: Mode, tmp_path: Path) -> None:
    before = contents()
    sort(table, SortOptions(into=SORTED, mode=mode))
    now = SORTED / "Dog/other.jpg"
    now.parent.mkdir()
    TARGET.rename(now)
    done = run_cli("sort", "--undo", "--into", "sorted", cwd=tmp_path)
    assert done.returncode == 6
    assert f"left: {TARGET}: it seems to be {now} now" in done.stderr
    assert "2 files taken back, 1 left" in done.stderr
    names_left("Cat/0.jpg")
    assert contents() == before
    TARGET.parent.mkdir(exist_ok=True)
    now.rename(TARGET)
    now.parent.rmdir()
    assert undo(SORTED).n_files == 1
    assert not SORTED.exists()


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.COPY, Mode.HARDLINK])
def test_a_file_that_is_nowhere_is_named(table: Path, mode: Mode) -> None:
    sort(table, SortOptions(into=SORTED, mode=mode))
    TARGET.unlink()
    SOURCE.unlink(missing_ok=True)
    names_left("Cat/0.jpg")


def test_a_deleted_copy_is_named_and_needs_no_journal(table: Path, tmp_path: Path) -> None:
    sort(table, SortOptions(into=SORTED))
    TARGET.unlink()
    done = run_cli("sort", "--undo", "--into", "sorted", cwd=tmp_path)
    assert done.returncode == 0
    assert f"not there: {TARGET}" in done.stderr
    assert "2 files taken back, 1 not there" in done.stderr
    assert not SORTED.exists()


def test_what_a_killed_run_half_copied_is_no_moved_file(table: Path) -> None:
    sort(table, SortOptions(into=SORTED))
    TARGET.rename(TARGET.with_name(".sorting-0123"))
    assert (undo(SORTED).missing, SORTED.exists()) == ([str(TARGET)], False)


@pytest.mark.parametrize("what", ["changed", "folder", "link"])
def test_what_is_no_longer_what_was_moved(table: Path, what: str) -> None:
    sort(table, SortOptions(into=SORTED, mode=Mode.MOVE))
    TARGET.rename("kept.jpg")
    if what == "folder":
        TARGET.mkdir()
    elif what == "link":
        TARGET.symlink_to(Path("kept.jpg").absolute())
    else:
        TARGET.write_bytes(b"changed since")
    names_left("Cat/0.jpg")
    assert os.path.lexists(TARGET)
    assert not SOURCE.exists()


def test_times_of_a_memory_card(table: Path) -> None:
    sort(table, SortOptions(into=SORTED, mode=Mode.MOVE))
    time = TARGET.stat().st_mtime_ns
    os.utime(TARGET, ns=(time, time // 2_000_000_000 * 2_000_000_000))
    assert undo(SORTED).n_files == 3
