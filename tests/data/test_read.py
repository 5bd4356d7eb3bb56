"""The guarded read: nothing waits, nothing is read without end, nothing large is read that is not an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.core.errors import InputError
from toolkit.data.read import MAX_FILE_BYTES, ReadError, read, read_file
from toolkit.data.walk import Sample
from toolkit.images.header import DecodeError


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ReadError, match="expected a file, found a device, pipe or socket"):
        read_file(str(tmp_path / "a.png"))


def test_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(ReadError, match="a device, pipe or socket"):
        read(Sample(str(tmp_path / "a.png"), "", 1 << 20, 0))


@pytest.mark.parametrize(("size", "kind"), [(MAX_FILE_BYTES + 1, "too_large"), (200 << 20, "not_an_image")])
def test_a_huge_file_is_refused_by_size_or_first_bytes(tmp_path: Path, size: int, kind: str) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    os.truncate(path, size)
    with pytest.raises(DecodeError) as caught:
        read_file(str(path))
    assert caught.value.kind == kind


def test_a_folder_a_missing_file_and_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "circle.png").symlink_to("circle.png")
    for name in ("", "missing.png", "circle.png"):
        with pytest.raises(InputError, match="cannot be read"):
            read_file(str(tmp_path / name))


def test_all_bytes_are_read_whatever_was_expected(tmp_path: Path) -> None:
    content = os.urandom(70_000)
    (tmp_path / "a.png").write_bytes(content)
    for expected in (0, 10, 70_000, 90_000):
        assert read(Sample(str(tmp_path / "a.png"), "", expected, 0))[1] == content
