"""Camera traps: MegaDetector's boxes are labelled one by one, and results are written in its format."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_networks
from support.command_line import Cli
from support.megadetector_format import problems
from support.result_files import write_image

from toolkit.core.errors import InputError
from toolkit.core.progress import SilentProgress
from toolkit.data.detections import read_detections
from toolkit.images.decode import decode, fit
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.inference.distributed.shard import Shard
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.saved_results import SavedResults

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]


def one(conf: float, bbox: list[float], category: str = "1") -> dict[str, Any]:
    return {"category": category, "conf": conf, "bbox": bbox}


IMAGES: list[dict[str, Any]] = [
    {"file": "two.png", "detections": [one(0.5, LEFT), one(0.9, RIGHT, "2"), one(0.1, LEFT)]},
    {"file": "sub\\one.png", "detections": [one(0.8, [0.25, 0.25, 0.5, 0.5])], "failure": None},
    {"file": "nothing.png", "detections": []},
    {"file": "weak.png", "detections": [one(0.19, LEFT)]},
    {"file": "failed.png", "detections": None, "failure": "Failure image access"},
    {"file": "broken.png", "detections": [one(0.7, LEFT)]},
    {"file": "elsewhere.png", "detections": [one(0.7, LEFT)]},
]
PATHS = ["broken", "failed", "nothing", "sub/one", "two", "two", "unknown", "weak"]
STATUSES = ["error", "error", "empty", "ok", "ok", "ok", "error", "empty"]


def halves(path: Path) -> None:
    """Left half red, right half blue."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    pixels[:, :60], pixels[:, 60:] = (0, 0, 220), (200, 30, 0)
    path.write_bytes(bytes(cv2.imencode(".png", pixels)[1]))


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder `photos`, `md.json` about its images, and a model that looks at colours."""
    for name in ("sub/one", "nothing", "weak", "failed", "unknown"):
        write_image(tmp_path / f"photos/{name}.png")
    halves(tmp_path / "photos/two.png")
    (tmp_path / "photos/broken.png").write_bytes(b"text")
    categories = {"1": "animal", "2": "person"}
    content = {"info": {"format_version": "1.4"}, "detection_categories": categories, "images": IMAGES}
    (tmp_path / "md.json").write_text(json.dumps(content))
    onnx_networks.write_mean_network(tmp_path / "model.onnx", onnx_networks.contract())
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def what_is_said(table: Path) -> list[tuple[object, ...]]:
    """The rows of a table but for their digits, whose last one may depend on the batch."""
    return [(row.path, row.label, row.status, row.error, row.detection) for row in SavedResults(table)]


LINE = ("infer", "photos", "--model", "model.onnx", "--detections", "md.json")


def test_on_screen_no_box_is_called_what_it_is(traps: Path, run: Cli) -> None:
    flat = {"file": "failed.png", "detections": [one(0.9, [0.1, 0.1, 0.0, 0.4])]}
    content = json.loads((traps / "md.json").read_text())
    content["images"] = [flat, *(image for image in IMAGES if image["file"] != "failed.png")]
    (traps / "md.json").write_text(json.dumps(content))
    done = run(*LINE)
    lines = [line for line in done.out.splitlines() if ": empty" in line]
    assert [line.partition(":")[0] for line in lines] == [
        f"photos/{name}.png" for name in ("failed", "nothing", "weak")
    ]
    assert all(line.endswith(": empty: no box with a size that is sure enough (--min-detection)") for line in lines)


def test_each_box_is_a_row(traps: Path, run: Cli) -> None:
    done = run(*LINE, "--out", "labels.csv", "--probabilities")
    assert done.code == 0, done.err
    assert "8 rows: " in done.err
    assert "empty 2 · unsure 0 · failed 3" in done.err
    found = rows(traps / "labels.csv")
    assert [row["path"] for row in found] == [f"photos/{name}.png" for name in PATHS]
    assert [row["status"] for row in found] == STATUSES
    assert [row["error"] for row in found if row["status"] == "error"] == [
        "not an image: text",
        "the detector failed: Failure image access",
        "not in md.json: nothing is known of detections in it",
    ]
    sure, weak = (row for row in found if row["path"] == "photos/two.png")
    assert (sure["detection"], sure["detection_confidence"], sure["box_left"]) == ("person", "0.900000", "0.500000")
    assert (weak["detection"], weak["box_width"], weak["box_height"]) == ("animal", "0.500000", "1.000000")
    # The same as if the boxes had been cut out and saved.
    whole = cv2.imread(str(traps / "photos/two.png"))
    assert whole is not None
    for row, part in ((sure, whole[:, 60:]), (weak, whole[:, :60])):
        cv2.imwrite(str(traps / "part.png"), part)
        run("infer", "part.png", "--model", "model.onnx", "--out", "part.csv", "--probabilities")
        (alone,) = rows(traps / "part.csv")
        assert row["label"] == alone["label"]
        assert float(row["p:Cat"]) == pytest.approx(float(alone["p:Cat"]), abs=2e-6)
    assert sure["confidence"] != weak["confidence"]


def test_an_image_that_is_named_twice_keeps_the_boxes_of_both(traps: Path, run: Cli) -> None:
    content = json.loads((traps / "md.json").read_text())
    content["images"] += [
        {"file": "./two.png", "detections": []},
        {"file": "nothing.png", "detections": [one(0.6, LEFT)]},
        {"file": "sub/one.png", "detections": None, "failure": "second time"},
    ]
    (traps / "md.json").write_text(json.dumps(content))
    assert run(*LINE, "--out", "labels.csv").code == 0
    found = {row["path"]: row for row in rows(traps / "labels.csv")}
    assert [row["path"] for row in rows(traps / "labels.csv")].count("photos/two.png") == 2
    assert found["photos/nothing.png"]["detection_confidence"] == "0.600000"
    assert found["photos/sub/one.png"]["status"] == "ok"


def test_less_sure_boxes_may_be_wanted(traps: Path, run: Cli) -> None:
    assert run(*LINE, "--out", "labels.csv", "--min-detection", "0.05").code == 0
    assert [row["status"] for row in rows(traps / "labels.csv") if "two" in row["path"]] == ["ok"] * 3
    assert [row["detection"] for row in rows(traps / "labels.csv") if "weak" in row["path"]] == ["animal"]


@pytest.mark.parametrize("out", ["labels.csv", "labels.json", "labels.jsonl"])
def test_update(traps: Path, run: Cli, out: str) -> None:
    line = (*LINE, "--out", out, "--update", "--exif", "--top-k", "2")
    run(*line)
    before = (traps / out).read_bytes()
    done = run(*line)
    assert "6 unchanged, 2 new or changed, 0 gone" in done.err  # what could not be read is tried again
    assert (traps / out).read_bytes() == before
    content = json.loads((traps / "md.json").read_text())
    content["images"][0]["detections"].append(one(0.3, [0.25, 0.0, 0.5, 1.0]))
    (traps / "md.json").write_text(json.dumps(content))
    halves(traps / "photos/nothing.png")
    assert "5 unchanged, 4 new or changed" in run(*line).err
    updated = what_is_said(traps / out)
    (traps / out).unlink()
    run(*line)
    assert what_is_said(traps / out) == updated


def test_a_stopped_run_continues(traps: Path) -> None:
    for i in range(20):
        halves(traps / f"photos/many{i:02}.png")
    content = json.loads((traps / "md.json").read_text())
    content["images"] += [{"file": f"many{i:02}.png", "detections": [one(0.5, LEFT)] * (i % 3)} for i in range(20)]
    (traps / "md.json").write_text(json.dumps(content))
    options = InferOptions(batch_size=3, workers=2, detections=traps / "md.json", exif=True)
    stop = threading.Event()

    class Stopping(SilentProgress):
        def advance(self, n: int = 1) -> None:
            if n:
                stop.set()

    inputs, model = Inputs(paths=(str(traps / "photos"),)), traps / "model.onnx"
    whole = infer(inputs, traps / "whole.csv", model, options)
    first = infer(inputs, traps / "labels.csv", model, options, progress=Stopping(), stop=stop)
    assert not first.complete
    second = infer(inputs, traps / "labels.csv", model, options)
    assert 0 < second.n_continued < whole.n_files == second.n_files
    assert (traps / "labels.csv").read_bytes() == (traps / "whole.csv").read_bytes()


def test_shards_are_disjoint_and_whole(traps: Path) -> None:
    found: list[str] = []
    options = InferOptions(detections=traps / "md.json")
    for index in (1, 2):
        inputs = Inputs(paths=(str(traps / "photos"),), shard=Shard(index, 2))
        infer(inputs, traps / f"{index}.csv", traps / "model.onnx", options)
        found += [Path(row["path"]).relative_to(traps / "photos").as_posix() for row in rows(traps / f"{index}.csv")]
    assert sorted(found) == [f"{name}.png" for name in PATHS]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_shards_are_merged(traps: Path, run: Cli, suffix: str) -> None:
    line = (*LINE, "--exif", "--batch-size", "1")
    assert run(*line, "--out", f"whole.{suffix}").code == 0
    parts = [f"part{i}.csv" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        run(*line, "--out", part, "--shard", f"{i}/3")
    done = run("merge", *parts, "--out", f"labels.{suffix}")
    assert done.code == 0, done.err
    assert (traps / f"labels.{suffix}").read_bytes() == (traps / f"whole.{suffix}").read_bytes()


@pytest.mark.parametrize("more", [(), ("--top-k", "2"), ("--min-confidence", "1")])
@pytest.mark.parametrize("detections", [True, False])
def test_out_in_the_format_of_megadetector(traps: Path, run: Cli, more: tuple[str, ...], detections: bool) -> None:
    line = LINE if detections else LINE[:4]
    assert run(*line, "--out", "labels.json", *more).code == 0
    content = json.loads((traps / "labels.json").read_text())
    assert problems(content) == []
    by_file = {image["file"]: image for image in content["images"]}
    assert list(by_file) == list(dict.fromkeys(f"photos/{name}.png" for name in PATHS))
    assert by_file["photos/broken.png"]["failure"] == "not an image: text"
    two = by_file["photos/two.png"]["detections"]
    if detections:
        assert [content["detection_categories"][found["category"]] for found in two] == ["person", "animal"]
        assert [found["bbox"] for found in two] == [RIGHT, LEFT]
        assert by_file["photos/nothing.png"]["detections"] == []
    else:
        assert [(found["conf"], found["bbox"]) for found in two] == [(1.0, [0.0, 0.0, 1.0, 1.0])]
    assert all(("classifications" in found) == ("--min-confidence" not in more) for found in two)
    done = run("infer", "photos", "--model", "model.onnx", "--detections", "labels.json", "--out", "again.csv")
    assert done.code == 0  # what was written can be read
    assert len(rows(traps / "again.csv")) == (8 if detections else 7)
    assert run("sort", "labels.json", "--into", "sorted").code == 0
    assert run("view", "labels.json").code == 0


def test_a_foreign_json_is_not_replaced(traps: Path, run: Cli) -> None:
    before = (traps / "md.json").read_bytes()
    assert run(*LINE, "--out", "md.json").code == 3
    assert (traps / "md.json").read_bytes() == before


def test_the_check_of_the_format_can_fail(traps: Path, run: Cli) -> None:
    run(*LINE, "--out", "labels.json")
    text = (traps / "labels.json").read_text()
    content = json.loads(text)
    for spoil in ('"1.6"', '"bbox"', '"category"', '"detections": []', '"person"', '"conf": 0.9,'):
        replacement = {'"1.6"': '"1.2"', '"detections": []': '"detections": 3', '"conf": 0.9,': '"conf": 1,'}
        assert spoil in text
        wrong = json.loads(text.replace(spoil, replacement.get(spoil, '""')))
        assert problems(wrong) != [], spoil
    assert problems(content) == []


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "3", '{"detection_categories": {}, "images": [{"file": "a", "detections": [3]}]}',
     '{"detection_categories": {"1": "a"}, "images": [{"file": "a", "detections": [{"category": "1", "conf": "x", '
     '"bbox": [0, 0, 1, 1]}]}]}',
     '{"detection_categories": {"1": "a"}, "images": [{"file": "a", "detections": [{"category": "1", "conf": 1, '
     '"bbox": [0, 0, 1e300, 1]}]}]}'],
)  # fmt: skip
def test_what_is_no_such_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "md.json").write_text(content)
    with pytest.raises(InputError, match=r"md\.json"):
        read_detections(tmp_path / "md.json", 0.2, ["photos"])
    with pytest.raises(InputError, match="found nothing"):
        read_detections(tmp_path / "gone.json", 0.2, ["photos"])


@pytest.mark.parametrize("start", ["", "photos/", "ABSOLUTE/"])
def test_names_in_the_file_may_start_anywhere(traps: Path, run: Cli, start: str) -> None:
    content = json.loads((traps / "md.json").read_text())
    for image in content["images"]:
        image["file"] = start.replace("ABSOLUTE", str(traps / "photos")) + image["file"]
    (traps / "md.json").write_text(json.dumps(content))
    run(*LINE, "--out", "labels.csv")
    assert [row["status"] for row in rows(traps / "labels.csv")] == STATUSES


def test_a_single_file_is_found_by_its_name(traps: Path, run: Cli) -> None:
    (traps / "lists").mkdir()
    (traps / "md.json").rename(traps / "lists/md.json")
    done = run("infer", "photos/two.png", "--model", "model.onnx", "--detections", "lists/md.json")
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        "photos/two.png (person 90.0 %)",
        "photos/two.png (animal 50.0 %)",
    ]


def test_a_folder_that_cannot_be_read_is_named(traps: Path, run: Cli) -> None:
    (traps / "photos/loop").symlink_to("loop")
    done = run(*LINE, "--out", "labels.csv")
    assert done.code == 6
    assert "one folder could not be read: photos/loop/" in done.err


@given(
    box=st.tuples(st.floats(0, 0.95), st.floats(0, 0.95), st.floats(0.001, 1.2), st.floats(0.001, 1.2)),
    resize=st.sampled_from(list(Resize)),
)
def test_a_box_is_decoded_as_a_file_of_its_own(box: tuple[float, float, float, float], resize: Resize) -> None:
    """A box that touches whole pixels of an image that is not reduced: the same pixels as of what was cut out."""
    pixels = np.random.default_rng(5).integers(0, 256, (60, 40, 3), np.uint8)
    data = bytes(cv2.imencode(".png", pixels[..., ::-1])[1])
    spec = Preprocess(height=50, width=50, colour=Colour.RGB, resize=resize)
    left, top, width, height = box
    columns = slice(int(left * 40 + 0.001), max(int(left * 40 + 0.001) + 1, -int(-((left + width) * 40 - 0.001) // 1)))
    lines = slice(int(top * 60 + 0.001), max(int(top * 60 + 0.001) + 1, -int(-((top + height) * 60 - 0.001) // 1)))
    assert np.array_equal(decode(data, spec, box=box), fit(np.ascontiguousarray(pixels[lines, columns]), spec))


def test_a_box_of_a_turned_and_reduced_photo() -> None:
    """The box is that of the upright image, also where a JPEG is reduced while it is decoded."""
    smooth = cv2.resize(np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8), (1600, 1200))
    data = bytes(cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1])
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    upright = np.rot90(smooth, -1)  # 1600 high, 1200 wide
    spec = Preprocess(height=64, width=64)
    found = decode(data, spec, box=(0.25, 0.5, 0.5, 0.25)).astype(int)
    wanted = fit(np.ascontiguousarray(upright[800:1200, 300:900]), spec).astype(int)
    assert np.abs(found - wanted).mean() < 4
    elsewhere = fit(np.ascontiguousarray(upright[400:800, 300:900]), spec).astype(int)
    assert np.abs(found - elsewhere).mean() > 20


def test_the_file_of_detections_is_not_written_over(traps: Path, run: Cli) -> None:
    """Not even where toolkit wrote it: an earlier result in MegaDetector's format."""
    assert run(*LINE, "--out", "own.json").code == 0
    before = (traps / "own.json").read_bytes()
    for out in ("own.json", "./photos/../own.json"):
        done = run(*LINE[:-1], "own.json", "--out", out, "--force")
        assert done.code == 2
        assert (traps / "own.json").read_bytes() == before
