"""Small things that were promised, or should have been."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from support import small

from toolkit import SplitOptions
from toolkit.checking.check import check
from toolkit.core.errors import UsageError
from toolkit.core.files import atomic_write
from toolkit.evaluation.summary import parse_gates
from toolkit.splitting.split import split


def test_opencv_has_its_threads_again(tmp_path: Path) -> None:
    photos = small.folders(tmp_path / "photos")
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        check(photos)
        assert cv2.getNumThreads() == 3
        split(photos, SplitOptions(out=tmp_path / "parts"))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("limit", ["90", "1.01"])
def test_a_gate_that_can_never_hold_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match="never hold"):
        parse_gates(f"accuracy={limit}")
    assert parse_gates("accuracy=1")[0].limit == 1


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """`/dev/full` stands for it."""
    with pytest.raises(OSError, match="labels") as caught, atomic_write(tmp_path / "labels.csv"):
        Path("/dev/full").write_text("x")
    assert caught.value.filename == str(tmp_path / "labels.csv")
    assert list(tmp_path.iterdir()) == []
