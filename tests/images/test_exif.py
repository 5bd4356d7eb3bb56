"""Date and camera from the header of every format that Pillow writes them into; and from bytes that are damaged."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import Cli
from support.onnx_networks import contract, write_mean_network

from toolkit.images.exif import Exif, read_exif

Image = pytest.importorskip("PIL.Image")


def written(
    form: str, *, make: str = "RECONYX", model: str = "HYPERFIRE 2", date: str = "2024:05:01 06:12:30"
) -> bytes:
    """An image with EXIF data, written by Pillow."""
    if form in ("HEIF", "AVIF"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = make, model
    exif.get_ifd(0x8769)[0x9003] = date
    exif[0x0132] = "2025:01:01 00:00:00"
    file = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    try:
        image.save(file, form, exif=exif)
    except (KeyError, OSError, ValueError) as error:
        pytest.skip(f"this Pillow writes no {form}: {error}")
    return file.getvalue()


FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(form: str) -> None:
    # Pillow leaves the inner directory, which says when an image was taken, out of a TIFF.
    taken = "2025-01-01T00:00:00" if form == "TIFF" else "2024-05-01T06:12:30"
    assert read_exif(written(form)) == Exif(taken, "RECONYX HYPERFIRE 2")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"date": "0000:00:00 00:00:00"}, Exif("2025-01-01T00:00:00", "RECONYX HYPERFIRE 2")),
        ({"date": "9999:99:99 99:99:99"}, Exif("2025-01-01T00:00:00", "RECONYX HYPERFIRE 2")),
        ({"date": "2023:02:29 06:12:30"}, Exif("2025-01-01T00:00:00", "RECONYX HYPERFIRE 2")),
        ({"date": "2024:02:29 24:00:00"}, Exif("2025-01-01T00:00:00", "RECONYX HYPERFIRE 2")),
        ({"date": "2024-02-29T23:59:59"}, Exif("2024-02-29T23:59:59", "RECONYX HYPERFIRE 2")),
        ({"make": "Canon", "model": "Canon EOS R5"}, Exif("2024-05-01T06:12:30", "Canon EOS R5")),
        ({"make": "  A\tB\n ", "model": ""}, Exif("2024-05-01T06:12:30", "A B")),
        ({"model": "M" * 1000, "make": ""}, Exif("2024-05-01T06:12:30", "M" * 200)),
    ],
)
def test_what_cameras_write(fields: dict[str, str], found: Exif) -> None:
    assert read_exif(written("JPEG", **fields)) == found


def test_nothing_is_nothing() -> None:
    plain = bytes(cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1])
    for data in (b"", b"text", plain, plain[:30], b"\xff\xd8\xff", b"II*\0", b"\x89PNG\r\n\x1a\n"):
        assert read_exif(data) == Exif()


@settings(max_examples=300)
@given(form=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]), data=st.data())
def test_damaged_data_never_raise(form: str, data: st.DataObject) -> None:
    content = bytearray(written(form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(300, len(content) - 1)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for found in (read_exif(bytes(content)), read_exif(bytes(content[:cut]))):
        assert found.camera.isprintable()
        assert len(found.taken) in (0, 19)


def test_columns_of_infer(tmp_path: Path, run: Cli) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(written("JPEG", make="=1+1", model=""))
    (tmp_path / "photos/b.png").write_bytes(written("PNG")[:-20])
    (tmp_path / "photos/c.jpg").write_bytes(b"")
    write_mean_network(tmp_path / "model.onnx", contract())
    line = ("infer", "photos", "--model", "model.onnx", "--exif", "--csv-safe", "--out", "labels.csv")
    assert run(*line).code == 0
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "path,label,confidence,taken,camera,truth,status,error,size,mtime_ns,model"
    assert ",2024-05-01T06:12:30,'=1+1,,ok," in lines[1]
    assert ",2024-05-01T06:12:30,RECONYX HYPERFIRE 2,,error," in lines[2]  # broken, but its header is whole
    assert ",,,,error,the file is empty" in lines[3]
    before = (tmp_path / "labels.csv").read_bytes()
    assert "3 unchanged" in run(*line, "--update").err
    assert (tmp_path / "labels.csv").read_bytes() == before
