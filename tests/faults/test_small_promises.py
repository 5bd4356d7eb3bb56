"""Small things that were promised, or should have been."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import pytest
from support import small

from toolkit import SplitOptions, cli
from toolkit.checking.check import check
from toolkit.cli import console
from toolkit.core.errors import InputError, MachineError, UsageError
from toolkit.core.files import atomic_write
from toolkit.core.progress import SilentProgress
from toolkit.data.cache import writing_cache
from toolkit.data.unpack import unpacked
from toolkit.evaluation.summary import parse_gates
from toolkit.images.spec import Preprocess
from toolkit.splitting.split import split
from toolkit.training.data.dataset import find_dataset
from toolkit.training.data.decode_cache import decode_all


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


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(tmp_path: Path) -> None:
    photos = small.folders(tmp_path / "photos")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MachineError, match="the cache cannot be written") as caught:
        unpacked(packed, tmp_path / "file" / "cache")
    assert "--cache-dir" in caught.value.hint
    dataset = find_dataset(photos)
    with pytest.raises(MachineError, match="the cache cannot be written") as caught:
        decode_all(dataset, Preprocess(height=8, width=8), tmp_path / "file" / "cache")
    assert "--cache-dir" in caught.value.hint
    with pytest.raises(FileNotFoundError), writing_cache(tmp_path / "cache"):
        (tmp_path / "elsewhere").read_bytes()  # no fault of the cache
    assert unpacked(packed, tmp_path / "cache").is_dir()


def test_odd_classes_are_said_alike(tmp_path: Path) -> None:
    """By check, split and train; an error where there is `--strict`."""
    photos = small.folders(tmp_path / "photos")
    (photos / "cat").mkdir()
    for i in range(4):
        (photos / "cat" / f"{i}.png").write_bytes(small.png(500 + i))
    (photos / "Owl").mkdir()
    said = ["class Owl has no images; it is left out", "classes Cat and cat differ in case only"]

    class Listening(SilentProgress):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def warn(self, text: str) -> None:
            self.heard.append(text)

    for command in (
        lambda progress: check(photos, progress=progress),
        lambda progress: split(photos, SplitOptions(out=tmp_path / "parts"), progress),
        lambda progress: find_dataset(photos, progress=progress),
    ):
        progress = Listening()
        command(progress)
        assert progress.heard[:2] == said
    with pytest.raises(InputError, match="differ in case only"):
        split(photos, SplitOptions(out=tmp_path / "strict", strict=True))
    with pytest.raises(InputError, match="differ in case only"):
        find_dataset(photos, strict=True)
    targets = [path.relative_to(tmp_path / "parts").as_posix() for path in (tmp_path / "parts").rglob("*.png")]
    assert len({target.casefold() for target in targets}) == len(targets) == 12


@pytest.mark.parametrize(
    "line",
    ["embed photos", "merge a.csv", "check photos", "view labels.csv", "split photos", "evaluate photos --model m"],
)
def test_only_infer_writes_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Before, a hint named `-.csv`, or a folder called `-` was made."""
    small.folders(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["toolkit", *line.split(), "--out", "-"])
    monkeypatch.setattr(console, "keep_native_messages_out", lambda: None)
    assert cli.main() == 2
    assert "only toolkit infer writes to standard output" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
