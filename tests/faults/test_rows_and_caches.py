"""A row for every image whatever its format, words that fit the count, and caches and bundles that are damaged."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support import small
from support.command_line import Cli

from toolkit.core.progress import SilentProgress
from toolkit.images.spec import Preprocess
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import Decoded, decode_all

SPEC = Preprocess(height=8, width=8)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (9, 99, 199)).save(buffer, kind)
    return buffer.getvalue()


def test_every_kind_of_image_has_its_row(tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its suffix or its first bytes, in any case; without the extras the error names the format and the extra."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    files = {
        "IMG_1.HEIC": encoded("HEIF"),
        "IMG_2.CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(200),
        "a.nef": b"II*\0" + bytes(200),
        "b.jp2": encoded("JPEG2000"),
        "c.jxl": b"\xff\x0a" + bytes(90),
        "d.psd": b"8BPS\0\x01" + bytes(90),
        "e.tga": encoded("TGA"),
        "no suffix": small.png(1),
        "text.dat": encoded("HEIF"),
    }
    (tmp_path / "photos").mkdir()
    for name, data in {**files, "notes.txt": b"notes", "clip.mov": b"movie"}.items():
        (tmp_path / "photos" / name).write_bytes(data)
    small.model(tmp_path / "model.onnx")
    for module in ("PIL", "pillow_jxl", "pi_heif"):
        for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, module, None)
    done = run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv")
    assert done.code == 0, done.err
    assert "passed over: 1 .mov, 1 .txt" in done.err
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["path"].removeprefix("photos/"): row for row in csv.DictReader(file)}
    assert set(rows) == set(files)
    assert rows["no suffix"]["status"] == "ok"
    for name, (format, extra) in {
        "IMG_1.HEIC": ("HEI", "heic"),
        "text.dat": ("HEI", "heic"),
        "b.jp2": ("JPEG 2000", "formats"),
        "c.jxl": ("JPEG XL", "formats"),
        "e.tga": ("TGA", "formats"),
    }.items():
        assert format in rows[name]["error"], rows[name]
        assert f"toolkit-images[{extra}]" in rows[name]["error"]
    assert "RAW" in rows["IMG_2.CR2"]["error"]


def test_old_style_jpeg_in_a_tiff_is_read() -> None:
    """Compression 6: a whole JPEG whose place the tags give."""
    import struct

    from toolkit.images.decode import decode

    pixels = np.full((16, 16, 3), (10, 200, 90), np.uint8)
    jpeg = bytes(cv2.imencode(".jpg", pixels[..., ::-1])[1])
    tags = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 6), (262, 3, 6), (273, 4, 8), (277, 3, 3),
            (278, 4, 16), (279, 4, len(jpeg)), (512, 3, 1), (513, 4, 8), (514, 4, len(jpeg))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"II*\0" + struct.pack("<I", 8 + len(jpeg)) + jpeg + struct.pack("<H", len(tags)) + entries + bytes(4)
    found = decode(data, SPEC)
    assert np.abs(found.astype(int) - (10, 200, 90)).max() < 6


class Counting(SilentProgress):
    def __init__(self) -> None:
        self.draws, self.totals = True, list[int]()

    def expect(self, n: int) -> None:
        self.totals.append(n)


def test_the_bar_of_infer_has_a_total(tmp_path: Path) -> None:
    photos, model = small.folders(tmp_path / "photos"), small.model(tmp_path / "model.onnx")
    progress = Counting()
    infer(Inputs(paths=(str(photos),)), tmp_path / "labels.csv", model, progress=progress)
    assert progress.totals == [8]


def test_one_file_is_not_1_files(tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "photos", 1)
    small.model(tmp_path / "model.onnx")
    shutil.rmtree(tmp_path / "photos" / "Dog")
    assert "1 file: " in run("infer", "photos", "--model", "model.onnx", "--out", "labels.csv").err
    (tmp_path / "photos" / "a.txt").touch()
    assert "1 files" not in run("infer", "photos", "--model", "model.onnx", "--out", "other.csv").err


def test_a_training_gives_opencv_its_threads_back(tmp_path: Path) -> None:
    dataset, before = find_dataset(small.folders(tmp_path / "photos")), cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        decode_all(dataset, SPEC, tmp_path / "cache")
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("damage", ["short", "empty", "no index", "torn index", "foreign index", "folder"])
def test_a_damaged_cache_is_made_again(damage: str, tmp_path: Path) -> None:
    photos = small.folders(tmp_path / "photos")

    def decoded() -> tuple[Decoded, bytes]:
        found = decode_all(find_dataset(photos), SPEC, tmp_path / "cache")
        return found, found.path.read_bytes()

    first, expected = decoded()
    assert decoded()[0].reused
    index = first.path.with_suffix(".json")
    if damage == "short":
        first.path.write_bytes(expected[:-100])
    elif damage == "empty":
        first.path.write_bytes(b"")
    elif damage == "no index":
        index.unlink()
    elif damage == "torn index":
        index.write_bytes(index.read_bytes()[:-20])
    elif damage == "foreign index":
        index.write_text('{"errors": [], "digests": 7}')
    else:
        first.path.unlink()
    again, found = decoded()
    assert not again.reused
    assert found == expected


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "data.csv"])
@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"\xff\xfe{", b'"' * 9_000, b"path,label\n" * 9])
def test_a_damaged_bundle_is_refused_or_does_without(name: str, content: bytes, tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "photos")
    bundle = small.bundle(tmp_path / "model")
    small.model(bundle / "model.onnx")
    (bundle / name).write_bytes(content)
    for command in (["inspect", "model"], ["infer", "photos", "--out", "labels.csv", "--force"]):
        done = run(*command)
        assert done.code in (0, 4), done.err
        assert "bug" not in done.err
        assert done.code == 4 or name != "bundle.json" or command[0] == "infer"
        assert done.code == 4 or name != "model.onnx" or command[0] == "inspect"


def test_the_table_of_a_split_that_is_damaged_is_refused(tmp_path: Path, run: Cli) -> None:
    small.folders(tmp_path / "photos")
    assert run("split", "photos", "--out", "parts").code == 0
    whole = (tmp_path / "parts" / "split.csv").read_bytes()
    for content in (b"", b"\0" * 300, b"\xff\xfe{", b'"' * 9_000, whole[:-30], b"path\n"):
        (tmp_path / "parts" / "split.csv").write_bytes(content)
        (tmp_path / "photos" / "Cat" / "new.png").write_bytes(small.png(len(content)))
        done = run("split", "photos", "--out", "parts", "--update")
        assert done.code == 3, done.err
        assert "split.csv" in done.err
        assert (tmp_path / "parts" / "split.csv").read_bytes() == content
