"""Labels from a table: what it says about each file, and the same split as from folders."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import run_cli
from support.result_files import write_image

from toolkit.checking.check import CheckOptions, check
from toolkit.core.errors import InputError, UsageError
from toolkit.data.class_source import open_source
from toolkit.data.label_table import LabelTables, find_labels
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.split import split


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def found(root: Path, *tables: Path | str, columns: str = "file_name,label") -> dict[str, str]:
    """Place -> label of the files that have one."""
    source = open_source(root, LabelTables.parse(tables, columns))
    return {file.name: file.label for file in source.files if file.problem is None}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images in two folders that mean nothing; the working directory is around them."""
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        write_image(tmp_path / f"photos/{i % 2}/{i:02}.png", (10 * i, 40, 200))
    return Path("photos")


def test_a_table_gives_the_labels(photos: Path) -> None:
    table = write(Path("labels.csv"), "file_name,label", "0/00.png,Cat", "1/01.png, Dog ", "0/02.png,", "9/9.png,Cat")
    source = open_source(photos, LabelTables.parse([table]))
    assert source.labels == ["Cat", "Dog"]
    problems = {file.name: file.problem.text for file in source.files if file.problem}
    assert len(problems) == 10
    assert problems["0/02.png"] == "has no label in labels.csv"
    assert problems["0/04.png"] == "has no row in labels.csv"
    assert source.table is not None
    assert source.table.missing == ["9/9.png"]


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (("path;class", "0/00.png;Cat", "1/01.png;Dog"), "path,class"),
        (("\ufefffile_name\tlabel\tnote", "0/00.png\tCat\t,", "1/01.png\tDog\t;"), "file_name,label"),
        (("n,label,file_name", '1,Cat,"0/00.png"', "", "2,Dog,./1/01.png"), "file_name,label"),
        (("file_name,label", "photos/0/00.png,Cat", "photos/1/01.png,Dog"), "file_name,label"),
    ],
)
def test_tables_as_people_have_them(photos: Path, lines: tuple[str, ...], columns: str) -> None:
    table = write(Path("labels.csv"), *lines)
    assert found(photos, table, columns=columns) == {"0/00.png": "Cat", "1/01.png": "Dog"}


def test_paths_may_start_from_the_table(photos: Path) -> None:
    table = write(
        Path("lists/labels.csv"), "file_name,label", "../photos/0/00.png,Cat", f"{photos.resolve()}/1/01.png,Dog"
    )
    assert found(photos, table) == {"0/00.png": "Cat", "1/01.png": "Dog"}


def test_metadata_is_found_and_is_no_image(photos: Path) -> None:
    write(photos / "metadata.csv", "file_name,label", "0/00.png,Cat", "1/01.png,Dog")
    assert found(photos) == {"0/00.png": "Cat", "1/01.png": "Dog"}
    assert "metadata.csv" not in {file.name for file in open_source(photos).files}
    assert set(found(photos, "folders").values()) == {"0", "1"}
    write(photos / "metadata.csv", "name,camera", "0/00.png,Canon")  # another one's
    assert set(found(photos).values()) == {"0", "1"}


def test_the_later_table_counts_and_folders_are_one(photos: Path) -> None:
    first = write(Path("labels.csv"), "file_name,label", "0/00.png,Cat", "1/01.png,Dog", "0/02.png,Cat")
    second = write(Path("corrections.csv"), "file_name,label,was,decided", "0/00.png,Dog,Cat,now", "0/02.png,,Cat,now")
    assert found(photos, first, second) == {"0/00.png": "Dog", "1/01.png": "Dog"}
    both = found(photos, "folders", second)
    assert both["0/00.png"] == "Dog"
    assert "0/02.png" not in both
    assert len(both) == 11
    assert both["1/01.png"] == "1"


def test_contradictions_are_left_out_until_a_later_table_decides(photos: Path) -> None:
    table = write(Path("labels.csv"), "file_name,label", "0/00.png,Cat", "0/00.png,Dog", "1/01.png,Dog")
    source = open_source(photos, LabelTables.parse([table]))
    problem = source.files[0].problem
    assert problem is not None
    assert (problem.kind, problem.text) == ("two_labels", "labels.csv says Cat and Dog")
    decided = write(Path("corrections.csv"), "file_name,label", "0/00.png,Bird")
    assert found(photos, table, decided)["0/00.png"] == "Bird"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a,b", "1,2"), "expected the columns file_name,label; found a,b"),
        (("file_name,label", "nowhere.png,Cat"), "none of its files is there: nowhere.png"),
        (("file_name,label",), "no row"),
        (("file_name,label", "0/00.png"), "row 2 has 1 cell, expected 2"),
        (("file_name,label", "0/00.png,"), "gives none of its 12 files a label"),
    ],
)
def test_wrong_tables_are_errors(photos: Path, lines: tuple[str, ...], message: str) -> None:
    table = write(Path("labels.csv"), *lines)
    with pytest.raises(InputError) as caught:
        open_source(photos, LabelTables.parse([table]))
    assert message in caught.value.message


def test_the_columns_of_a_result_table_are_suggested(photos: Path) -> None:
    table = write(Path("labels.csv"), "path,label,confidence,truth,status,error,size,mtime_ns,model")
    with pytest.raises(InputError) as caught:
        open_source(photos, LabelTables.parse([table]))
    assert caught.value.hint.endswith("--columns path,label")


def test_wrong_options(photos: Path) -> None:
    with pytest.raises(InputError, match="expected a table of labels, found nothing"):
        open_source(photos, LabelTables.parse(["nothing.csv"]))
    Path("latin.csv").write_bytes("file_name,label\n0/00.png,Käfer\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        open_source(photos, LabelTables.parse(["latin.csv"]))
    with pytest.raises(UsageError, match="two columns"):
        LabelTables.parse(["labels.csv"], "path")


def rows_of(out: Path) -> dict[str, tuple[str, str]]:
    """SHA-256 -> label and subset."""
    with (out / "split.csv").open(newline="", encoding="utf-8") as file:
        return {row["sha256"]: (row["label"], row["subset"]) for row in csv.DictReader(file) if row["subset"]}


def test_the_same_files_are_split_alike_from_folders_and_from_a_table(tmp_path: Path) -> None:
    lines = ["path,class"]
    for i in range(40):
        label = ("Cat", "Dog")[i % 2]
        image = write_image(tmp_path / f"classes/{label}/{i}.png", (6 * i, 40, 200))
        copy = tmp_path / f"flat/{97 * i % 40}.png"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(image.read_bytes())
        lines.append(f"{copy.name},{label}")
    table = write(tmp_path / "labels.csv", *lines)
    split(tmp_path / "classes", SplitOptions(out=tmp_path / "one"))
    labels = LabelTables.parse([table], "path,class")
    split(tmp_path / "flat", SplitOptions(out=tmp_path / "two", labels=labels))
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    assert len(rows_of(tmp_path / "two")) == 40
    assert {path.name for path in (tmp_path / "two/train").iterdir()} == {"Cat", "Dog"}
    assert split(tmp_path / "flat", SplitOptions(out=tmp_path / "two", labels=labels)).outcome == "unchanged"
    table.write_text(table.read_text().replace("0.png,Cat", "0.png,Dog"))
    with pytest.raises(InputError, match="holds another split"):
        split(tmp_path / "flat", SplitOptions(out=tmp_path / "two", labels=labels))
    result = check(tmp_path / "flat", CheckOptions(labels=labels))
    assert sorted(result.classes) == ["Cat", "Dog"]


def test_a_table_for_class_folders_keeps_their_places(tmp_path: Path) -> None:
    for label in ("Cat", "Dog"):
        for i in range(4):
            write_image(tmp_path / f"data/{label}/x/{i}.png", (60 * i, 40, 100 if label == "Cat" else 200))
    lines = [f"{label}/x/{i}.png,{label}" for label in ("Cat", "Dog") for i in range(4)]
    write(tmp_path / "data/metadata.csv", "file_name,label", *lines)
    split(tmp_path / "data", SplitOptions(out=tmp_path / "table"))
    (tmp_path / "data/metadata.csv").unlink()
    split(tmp_path / "data", SplitOptions(out=tmp_path / "folders"))
    one, two = (
        sorted(p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*.png"))
        for name in ("table", "folders")
    )
    assert one == two


def test_labels_that_are_no_folder_names(photos: Path) -> None:
    table = write(Path("labels.csv"), "file_name,label", "0/00.png,T-shirt/top", "1/01.png,Dog")
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        split(photos, SplitOptions(labels=LabelTables.parse([table])))


def test_command(photos: Path, tmp_path: Path) -> None:
    write(Path("labels.csv"), "path,class", *(f"photos/{i % 2}/{i:02}.png,{'AB'[i % 3 > 0]}" for i in range(11)), "x,A")
    done = run_cli("split", photos, "--labels", "labels.csv", "--columns", "path,class", "--ratio", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: labels.csv: no such file in the dataset: x" in done.stderr
    assert "left out 1 (1 no_class)" in done.stderr
    assert sorted(path.name for path in Path("photos-split/train").iterdir()) == ["A", "B"]


@given(st.lists(st.tuples(st.sampled_from(["a.png", "b/ü.png", "c d/e,f.png"]), st.text(max_size=12)), max_size=8))
def test_whatever_a_table_says_is_read_or_refused(rows: list[tuple[str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        with table.open("w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file).writerows([("file_name", "label"), *rows])
        try:
            labels = find_labels(Path(folder), ["a.png", "b/ü.png", "c d/e,f.png"], LabelTables.parse([table]))
        except InputError:
            return
        assert labels is not None
        assert set(labels.by_place) == {name for name, _ in rows}
        assert not labels.missing


def packed(folder: Path, archive: Path) -> Path:
    """A zip of all that is in `folder`."""
    files = sorted(folder.rglob("*"))
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in files:
            zipped.write(path, path.relative_to(folder).as_posix())
    return archive


@pytest.mark.parametrize("around", ["", "photos/"])
def test_metadata_inside_an_archive(photos: Path, around: str) -> None:
    write(photos / "metadata.csv", "file_name,label", "0/00.png,Cat", "1/01.png,Dog", "0/gone.png,Dog")
    archive = packed(photos.parent if around else photos, Path("data.zip"))
    assert found(archive) == {f"{around}0/00.png": "Cat", f"{around}1/01.png": "Dog"}
    source = open_source(archive)
    assert not any(file.name.endswith(".csv") for file in source.files)
    assert source.table is not None
    assert source.table.missing == ["0/gone.png"]
    done = run_cli("split", archive, "--out", "parts", "--ratio", "0.5", "--force", cwd=Path.cwd())
    assert "metadata.csv: no such file in the dataset: 0/gone.png" in done.stderr
    done = run_cli("check", archive, cwd=Path.cwd())
    assert "2 readable images in 2 classes" in done.stderr


def test_corrections_are_understood_beside_other_columns(photos: Path) -> None:
    labels = write(Path("labels.csv"), "path,class", "0/00.png,Cat", "1/01.png,Dog", "0/02.png,Dog")
    rows = ["photos/0/00.png,Bird,Cat,now", f"{photos.resolve()}/1/01.png,,Dog,now", "./photos/0/02.png,Cat,Dog,now"]
    corrections = write(Path("corrections.csv"), "file_name,label,was,decided", *rows)
    assert found(photos, labels, corrections, columns="path,class") == {"0/00.png": "Bird", "0/02.png": "Cat"}


def test_files_outside_of_the_folder_are_named(photos: Path) -> None:
    write_image(Path("elsewhere/new.png"))
    table = write(Path("labels.csv"), "file_name,label", "0/00.png,Cat", "elsewhere/new.png,Cat", "gone.png,Cat")
    source = open_source(photos, LabelTables.parse([table]))
    assert source.table is not None
    assert (source.table.outside, source.table.missing) == (["elsewhere/new.png"], ["gone.png"])
    done = run_cli("check", photos, "--labels", table, cwd=Path.cwd())
    assert "labels.csv: left out, it lies outside of the dataset's folder: elsewhere/new.png" in done.stderr
    write(table, "file_name,label", "elsewhere/new.png,Cat")
    with pytest.raises(InputError, match=r"none of its files lies in photos: elsewhere/new\.png"):
        open_source(photos, LabelTables.parse([table]))
