"""`toolkit sort`: folders by label, nothing replaced, nothing lost, all taken back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import environment, run_cli
from support.result_files import row, write_table

from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import file_digest
from toolkit.sorting import SortOptions, sort, undo
from toolkit.sorting.plan import folder_names
from toolkit.splitting.mode import Mode


def files_of(folder: Path) -> dict[str, str]:
    """Place -> digest of every file below `folder`."""
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six files with a row each, two of the same name, one unsure, one error; the working directory is around them."""
    monkeypatch.chdir(tmp_path)
    rows = [
        row("photos/a/1.jpg", "Cat", 0.9),
        row("photos/b/1.jpg", "Cat", 0.7),
        row("photos/b/2.jpg", "T-shirt/top", 0.95),
        row("photos/b/3.jpg", "Cat", 0.99),
        row("photos/c.jpg", "", 0.3, "unsure"),
        row("photos/d.jpg", "", None, "error", error="empty"),
    ]
    for number, found in enumerate(rows):
        path = tmp_path / found["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image %d" % number)
    return write_table(tmp_path / "labels.csv", rows)


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NONE])
def test_sorts_and_undoes(table: Path, mode: Mode) -> None:
    before = files_of(Path("photos"))
    result = sort(table, SortOptions(into=Path("sorted"), mode=mode))
    assert dict(result.folders) == {"Cat": 3, "T-shirt_top": 1, "unsure": 1, "error": 1}
    found = files_of(Path("sorted"))
    assert sorted(digest for name, digest in found.items() if name != "sort.csv") == sorted(before.values())
    assert found["T-shirt_top/2.jpg"] == before["b/2.jpg"]
    assert found["unsure/c.jpg"] == before["c.jpg"]
    assert found["error/d.jpg"] == before["d.jpg"]
    assert files_of(Path("photos")) == ({} if mode is Mode.MOVE else before)
    again = sort(table, SortOptions(into=Path("sorted"), mode=mode))
    assert (again.n_placed, again.n_there, again.folders) == (0, 6, result.folders)
    assert undo(Path("sorted")).n_files == 6
    assert files_of(Path("photos")) == before
    assert not Path("sorted").exists()


def test_thresholds_and_top(table: Path) -> None:
    result = sort(table, SortOptions(into=Path("sorted"), min_confidence=0.8))
    assert dict(result.folders) == {"Cat": 2, "T-shirt_top": 1, "unsure": 2, "error": 1}
    result = sort(table, SortOptions(into=Path("best"), top=1))
    assert sorted(files_of(Path("best"))) == ["Cat/3.jpg", "T-shirt_top/2.jpg", "sort.csv"]
    with pytest.raises(UsageError, match="min-confidence"):
        SortOptions(into=Path("x"), min_confidence=2)
    with pytest.raises(UsageError, match="mode"):
        SortOptions(into=Path("x"), mode="teleport")  # type: ignore[arg-type]


def test_dry_run_writes_nothing(table: Path, tmp_path: Path) -> None:
    done = run_cli("sort", table, "--into", "sorted", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Cat: 3", "T-shirt_top: 1", "unsure: 1", "error: 1"]
    assert done.stderr == "sorted: 6 files to place, nothing written (--dry-run)\n"
    assert not (tmp_path / "sorted").exists()


def test_nothing_is_replaced(table: Path) -> None:
    Path("sorted").mkdir()
    Path("sorted/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="toolkit did not write it"):
        sort(table, SortOptions(into=Path("sorted")))
    sort(table, SortOptions(into=Path("other"), top=1))
    Path("other/Cat/1.jpg").write_text("mine")
    result = sort(table, SortOptions(into=Path("other")))
    assert [path for path, _ in result.failed] == ["photos/a/1.jpg"]
    assert Path("other/Cat/1.jpg").read_text() == "mine"


def test_undo_leaves_what_was_changed_or_is_the_last_copy(table: Path) -> None:
    sort(table, SortOptions(into=Path("sorted")))
    Path("sorted/error/d.jpg").write_text("changed since")
    Path("photos/c.jpg").unlink()
    undone = undo(Path("sorted"))
    assert undone.n_files == 4
    assert sorted(path for path, _ in undone.kept) == ["sorted/error/d.jpg", "sorted/unsure/c.jpg"]
    assert Path("sorted/unsure/c.jpg").is_file()


def test_another_answer_for_a_file_is_refused(table: Path) -> None:
    sort(table, SortOptions(into=Path("sorted")))
    write_table(table, [row("photos/a/1.jpg", "Dog", 0.9)])
    with pytest.raises(InputError, match=r"an earlier sort brought photos/a/1\.jpg into Cat/ by copy"):
        sort(table, SortOptions(into=Path("sorted")))


def test_missing_files_are_named(table: Path, tmp_path: Path) -> None:
    Path("photos/b/2.jpg").unlink()
    done = run_cli("sort", table, "--into", "sorted", cwd=tmp_path)
    assert done.returncode == 6
    assert "not there: photos/b/2.jpg" in done.stderr
    assert "error: sorted: 1 file of the table could not be placed; everything else is done" in done.stderr
    assert "sorted: 5 files placed, 1 not there: Cat 3 · unsure 1 · error 1" in done.stderr
    (tmp_path / "elsewhere").mkdir()
    done = run_cli("sort", table, "--into", "sorted", cwd=tmp_path / "elsewhere")
    assert done.returncode == 3
    assert "--root" in done.stderr
    done = run_cli("sort", table, "--into", "sorted", "--root", tmp_path, cwd=tmp_path / "elsewhere")
    assert done.returncode == 6
    assert "sorted: 5 files placed, 1 not there" in done.stderr


@pytest.mark.parametrize("content", ["", "a,b\r\n1,2\r\n", "path,label,confidence,status\r\nx,Cat,much,ok\r\n"])
def test_what_is_no_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, newline="")
    with pytest.raises(InputError, match=r"labels\.csv: "):
        sort(path, SortOptions(into=tmp_path / "sorted"))


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_killed_run_is_completed(tmp_path: Path, mode: str) -> None:
    rows = []
    for number in range(600):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"%d" % number)
        rows.append(row(f"photos/{number}.jpg", "Cat" if number % 2 else "Dog", 0.9))
    table = write_table(tmp_path / "labels.csv", rows)
    before = files_of(tmp_path / "photos")
    line = [sys.executable, "-m", "toolkit", "sort", str(table), "--into", "sorted", "--mode", mode]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    while process.poll() is None and not len(list((tmp_path / "sorted").glob("*/*"))) > 50:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert "Cat 300 · Dog 300" in done.stderr
    found = files_of(tmp_path / "sorted")
    del found["sort.csv"]
    assert sorted(found.values()) == sorted(before.values())
    subprocess.run([*line[:4], "--undo", "--into", "sorted"], cwd=tmp_path, env=environment(), check=True)
    assert files_of(tmp_path / "photos") == before


@pytest.mark.skipif(os.name == "nt", reason="names of bytes are those of Unix")
def test_names_that_are_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open(b"caf\xe9.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    table = write_table(tmp_path / "labels.csv", [row("caf\\xe9.jpg", "Cat", 0.9)])
    sort(table, SortOptions(into=Path("sorted")))
    assert os.listdir(b"sorted/Cat") == [b"caf\xe9.jpg"]
    assert undo(Path("sorted")).n_files == 1


@given(st.lists(st.text(min_size=1, max_size=20), max_size=8))
def test_folder_names_are_safe_and_distinct(labels: list[str]) -> None:
    names = folder_names(labels)
    folded = [name.casefold() for name in names.values()]
    assert set(names) == set(labels)
    assert len(set(folded)) == len(folded)
    assert not {"unsure", "error", "", ".", ".."} & set(folded)
    assert not any(set(name) & set('/\\:*?"<>|\0') or name.startswith(".") for name in names.values())
