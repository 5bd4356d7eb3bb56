"""Tables that others wrote or edited: numbers that are none, half characters, boxes outside, what spreadsheets save."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small
from support.command_line import Cli
from support.result_files import row, write_table

from toolkit.core.errors import InputError
from toolkit.data.detections import box_inside, read_detections
from toolkit.data.label_table import LabelTables
from toolkit.embedding.feature_files import rows_path
from toolkit.inference.saved_results import SavedResults
from toolkit.model_files.bundle import DataRow, load_bundle, write_data_csv
from toolkit.reviewing.corrections import Correction, Corrections, read_corrections
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.split import split
from toolkit.splitting.table import SplitRow, read_rows, write_rows

# --- saved results -------------------------------------------------------------------------------------------------

DAMAGE = {
    "a number of 401 digits": ('"confidence": 0.', '"confidence": 1' + "0" * 400 + ".0"),
    "an integer of 401 digits": ('"confidence": 0.', '"confidence": 1' + "0" * 400 + ', "was": 0.'),
    "1e400": ('"confidence": 0.', '"confidence": 1e400, "was": 0.'),
    "two": ('"confidence": 0.', '"confidence": 2, "was": 0.'),
    "less than nothing": ('"confidence": 0.', '"confidence": -0.'),
    "half a character in a path": ('"path": "', '"path": "\\ud800'),
    "half a character in a label": ('"label": "', '"label": "\\udfff'),
    "half a character in a column": ('"truth": ', '"p:\\ud800": 0.5, "truth": '),
    "half a character in an error": ('"error": null', '"error": "\\ud83d"'),
}
READERS = {
    "view": ("view", "TABLE", "--out", "page.html"),
    "sort": ("sort", "TABLE", "--into", "sorted"),
    "review": ("review", "TABLE", "--to", "label-studio"),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_values_that_no_result_holds(suffix: str, damage: str, place: Path, run: Cli) -> None:
    table = f"labels{suffix}"
    line = ("infer", "photos", "--model", "model.onnx", "--out", table)
    assert run(*line).code == 0
    whole = Path(table).read_bytes()
    old, new = (text.encode() for text in DAMAGE[damage])
    head, found, tail = (whole.partition if "column" in damage else whole.rpartition)(b'{"path"')
    assert old in found + tail
    Path(table).write_bytes(head + (found + tail).replace(old, new))
    for name, command in READERS.items():
        done = run(*(table if part == "TABLE" else part for part in command))
        assert done.code == 3, (name, done.err)
        assert "damaged" in done.err or "expected a table of results" in done.err
    assert sorted(path.name for path in place.iterdir()) == sorted(
        ["photos", "model.onnx", table, "labels.report.csv", "labels.confusion.csv"]
    )
    done = run(*line, "--update")
    assert done.code == 0, done.err
    assert Path(table).read_bytes() == whole


@pytest.mark.parametrize("confidence", ["nan", "inf", "1e400", "-0.5", "1.5", "9" * 500])
def test_confidences_outside_0_to_1(place: Path, confidence: str, run: Cli) -> None:
    good = row("photos/Cat/0.png", "Cat", 0.9)
    write_table(Path("labels.csv"), [good, {**good, "path": "photos/Cat/1.png", "confidence": confidence}])
    with pytest.raises(InputError, match=r"row 2: .* is no number from 0 to 1"):
        list(SavedResults(Path("labels.csv")))
    assert run("sort", "labels.csv", "--into", "sorted").code == 3
    assert not Path("sorted").exists()


def test_update_labels_again_what_has_an_impossible_confidence(place: Path, run: Cli) -> None:
    line = ("infer", "photos", "--model", "model.onnx", "--out", "labels.csv", "--update")
    assert run(*line).code == 0
    whole = Path("labels.csv").read_bytes()
    lines = whole.split(b"\r\n")
    cells = lines[2].split(b",")
    lines[2] = b",".join([*cells[:2], b"inf", *cells[3:]])
    Path("labels.csv").write_bytes(b"\r\n".join(lines))
    assert "3 unchanged, 1 new or changed" in run(*line).err
    assert Path("labels.csv").read_bytes() == whole


def test_a_byte_order_mark_is_passed_over_by_every_reader_of_results(place: Path, run: Cli) -> None:
    for k in (1, 2):
        shard = ("--shard", f"{k}/2")
        assert run("infer", "photos", "--model", "model.onnx", "--out", f"part-{k}.csv", *shard).code == 0
    line = ("infer", "photos", "--model", "model.onnx", "--out", "labels.csv")
    assert run(*line).code == 0
    whole = Path("labels.csv").read_bytes()
    for name in ("part-1.csv", "labels.csv"):
        Path(name).write_bytes(b"\xef\xbb\xbf" + Path(name).read_bytes())
    assert run("merge", "part-1.csv", "part-2.csv", "--out", "merged.csv").code == 0
    assert Path("merged.csv").read_bytes() == whole
    assert run("sort", "labels.csv", "--into", "sorted").code == 0
    done = run(*line, "--update")
    assert "4 unchanged, 0 new or changed" in done.err
    Path("photos/Dog/1.png").unlink()
    assert "3 unchanged, 0 new or changed, 1 gone" in run(*line, "--update").err
    assert Path("labels.csv").read_bytes() == b"\r\n".join([*whole.split(b"\r\n")[:4], b""])


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_byte_order_mark_before_other_results(suffix: str, place: Path, run: Cli) -> None:
    line = ("infer", "photos", "--model", "model.onnx", "--out", f"labels{suffix}", "--update")
    assert run(*line).code == 0
    path = Path(f"labels{suffix}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert run("sort", str(path), "--into", "sorted").code == 0
    assert "4 unchanged, 0 new or changed" in run(*line).err


@pytest.mark.parametrize("name", ["features.csv", "features.npy"])
def test_a_byte_order_mark_before_features(name: str, place: Path, run: Cli) -> None:
    assert run("embed", "photos", "--model", "model.onnx", "--out", name).code == 0
    path = rows_path(Path(name)) if name.endswith(".npy") else Path(name)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert run("embed", name, "--like", "photos/Cat/0.png", "--model", "model.onnx").code == 0
    assert run("embed", "photos", "--model", "model.onnx", "--out", name).code == 0


# --- boxes ---------------------------------------------------------------------------------------------------------

number = st.floats(-1, 2) | st.floats() | st.sampled_from([0.0, 1.0, -0.0, 1e-7, 1 - 1e-7])


@given(st.tuples(number, number, number, number))
def test_a_box_lies_in_the_image_or_is_refused(box: tuple[float, float, float, float]) -> None:
    try:
        left, top, width, height = box_inside(*box)
    except ValueError:
        return
    for start, length in ((left, width), (top, height)):
        assert 0 <= start < 1
        assert 0 < length <= 1
        assert start + length <= 1 + 1e-9
    assert box_inside(left, top, width, height) == (left, top, width, height)


@pytest.mark.parametrize(
    "detection",
    [
        '"conf": 0.9, "bbox": [NaN, 0, 0.5, 0.5]',
        '"conf": 0.9, "bbox": [1e400, 0, 0.5, 0.5]',
        '"conf": 0.9, "bbox": [1.5, 0, 0.5, 0.5]',
        '"conf": 0.9, "bbox": [0, 0, 640, 480]',
        '"conf": 0.9, "bbox": [-0.7, 0, 0.5, 0.5]',
        '"conf": 1.5, "bbox": [0, 0, 0.5, 0.5]',
        '"conf": 1' + "0" * 400 + ', "bbox": [0, 0, 0.5, 0.5]',
    ],
)
def test_boxes_outside_are_refused(place: Path, detection: str, run: Cli) -> None:
    images = '[{"file": "Cat/0.png", "detections": [{"category": "1", ' + detection + "}]}]"
    Path("md.json").write_text('{"detection_categories": {"1": "animal"}, "images": ' + images + "}")
    line = ("infer", "photos", "--model", "model.onnx", "--detections", "md.json", "--out", "labels.csv")
    done = run(*line)
    assert done.code == 3, done.err
    assert "md.json" in done.err
    assert not Path("labels.csv").exists()


def test_boxes_that_reach_out_are_cut_at_the_edge(place: Path, run: Cli) -> None:
    found = [{"category": "1", "conf": 0.9, "bbox": [-0.25, 0.5, 0.5, 0.75]}]
    content = {"detection_categories": {"1": "animal"}, "images": [{"file": "photos/Cat/0.png", "detections": found}]}
    Path("md.json").write_text(json.dumps(content))
    line = ("infer", "photos/Cat/0.png", "--model", "model.onnx", "--detections", "md.json", "--out", "labels.csv")
    assert run(*line).code == 0
    with Path("labels.csv").open(newline="") as file:
        (only,) = csv.DictReader(file)
    assert [only[f"box_{side}"] for side in ("left", "top", "width", "height")] == [
        "0.000000", "0.500000", "0.250000", "0.500000",
    ]  # fmt: skip
    whole = Path("labels.csv").read_text()
    for spoilt in (whole.replace(",0.250000,", ",nan,"), whole.replace(",0.250000,", ",640.000000,")):
        Path("labels.csv").write_text(spoilt)
        assert run("view", "labels.csv", "--out", "page.html").code == 3
        assert not Path("page.html").exists()


def test_an_image_with_too_many_boxes_is_one_row_with_an_error(place: Path, run: Cli) -> None:
    many = [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 0.5]}] * 100_000
    images = [{"file": "photos/Cat/0.png", "detections": many}, {"file": "photos/Cat/1.png", "detections": many[:1000]}]
    Path("md.json").write_text(json.dumps({"detection_categories": {"1": "animal"}, "images": images}))
    found = read_detections(Path("md.json"), 0.2, ["photos"])
    assert len(found.by_file["photos/Cat/1.png"]) == 1000
    line = ("infer", "photos/Cat", "--model", "model.onnx", "--detections", "md.json", "--out", "labels.csv")
    assert run(*line).code == 0
    with Path("labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1001
    assert rows[0]["error"] == "100,000 detections in one image, 1,000 are the most; --min-detection takes fewer"
    assert {row["status"] for row in rows[1:]} == {"ok"}


# --- what spreadsheets save ----------------------------------------------------------------------------------------


def saved_by_excel(lines: list[list[str]], separator: str = ";") -> bytes:
    """As "CSV UTF-8" in a country whose decimal sign is a comma: a mark, semicolons, empty rows at the end."""
    text = "".join(f"{separator.join(cells)}\r\n" for cells in [*lines, [""] * len(lines[0]), []])
    return b"\xef\xbb\xbf" + text.encode()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_corrections_that_a_spreadsheet_saved(place: Path, separator: str, run: Cli) -> None:
    path = Path("corrections.csv")
    lines = [["file_name", "label", "was", "decided"], ["Cat/0.png", "Löwe", "Cat", "2026-01-01T00:00:00Z"]]
    path.write_bytes(saved_by_excel(lines, separator))
    assert [(found.file_name, found.label) for found in read_corrections(path)] == [("Cat/0.png", "Löwe")]
    done = split(Path("photos"), SplitOptions(out=Path("parts"), labels=LabelTables.parse(["folders", path])))
    assert {row.label for row in done.rows} == {"Cat", "Dog", "Löwe"}
    Corrections(path).decide("Dog/0.png", "Wolf", "Dog")
    assert [found.label for found in read_corrections(path)] == ["Löwe", "Wolf"]


@pytest.mark.parametrize(
    "text",
    ["", "file_name|label|was|decided\r\na|b|c|d\r\n", "file_name,label,was,decided\r\na,b,c\r\n",
     "file_name,label,was,decided\r\n,b,c,d\r\n", 'file_name,label,was,decided\r\n"a,b,c,d\r\n'],
)  # fmt: skip
def test_other_tables_are_no_corrections(place: Path, text: str) -> None:
    Path("corrections.csv").write_text(text, newline="")
    with pytest.raises(InputError, match=r"corrections\.csv"):
        Corrections(Path("corrections.csv"))
    assert Path("corrections.csv").read_bytes() == text.encode()


FORMULAS = (
    "=1+1.png",
    "+2.png",
    "-3.png",
    "@sum.png",
    "\tx.png",
    "'=quoted.png",
    "''+twice.png",
    "plain.png",
    "a=b.png",
)
name = st.sampled_from(FORMULAS) | st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1)


@given(names=st.lists(name, min_size=1, max_size=6, unique=True))
def test_tables_that_our_programs_read_back_are_safe_and_exact(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """split.csv, data.csv, corrections.csv: no cell is a formula, and every name comes back as it was."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [SplitRow(name, name, "train", "train/x", note=name, group=name, sha256="0") for name in names]
    write_rows(folder / "split.csv", rows)
    assert read_rows(folder / "split.csv") == rows
    data = [DataRow(name, name, "train", name, "0") for name in names if not name.startswith("/") and ".." not in name]
    small.bundle(folder / "bundle")
    write_data_csv(folder / "bundle" / "data.csv", data)
    assert [(found.path, found.label) for found in load_bundle(folder / "bundle").rows()] == [
        (found.path, found.label) for found in data
    ]
    corrections = [Correction(name, name, name, "2026-01-01T00:00:00Z") for name in names]
    Corrections(folder / "corrections.csv").add(corrections)
    assert read_corrections(folder / "corrections.csv") == corrections
    for path in folder.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            assert not [
                cell for line in csv.reader(file) for cell in line if cell.startswith(("=", "+", "-", "@", "\t"))
            ]


def test_labels_of_corrections_with_odd_names_reach_their_files(place: Path, run: Cli) -> None:
    for k, name in enumerate(FORMULAS[:4]):
        Path("photos/Cat", name).write_bytes(small.png(50 + k))
    Corrections(Path("corrections.csv")).add(
        Correction(f"photos/Cat/{name}", "=Lion", "Cat", "2026-01-01T00:00:00Z") for name in FORMULAS[:4]
    )
    Corrections(Path("corrections.csv")).decide("=1+1.png", "Lion", "")
    done = run("split", "photos", "--labels", "folders", "--labels", "corrections.csv", "--out", "parts")
    assert done.code == 0, done.err
    with Path("parts/split.csv").open(newline="", encoding="utf-8") as file:
        labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert [labels[f"Cat/{name}"] for name in FORMULAS[:4]] == ["'=Lion"] * 4
