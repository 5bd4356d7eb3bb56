"""What a stopped, killed or earlier run left is used, and never shows in the result."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command_line import ROOT, environment, run_cli
from support.onnx_networks import contract, write_conv_network, write_mean_network

from toolkit.core.errors import InputError, LockedError, MachineError
from toolkit.core.locking import lock
from toolkit.core.parallel import CAN_FORK
from toolkit.core.progress import SilentProgress
from toolkit.images.spec import Colour
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result import InferResult

DIGITS = tuple("0123456789")
OPTIONS = InferOptions(batch_size=4, workers=2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_conv_network(tmp_path / "model.onnx", contract(DIGITS, 28, Colour.GREY), convolutions=())


@pytest.fixture
def photos(fashion_images: Path, tmp_path: Path) -> Path:
    """30 images in three class folders and a subfolder, one of them broken."""
    folder = tmp_path / "photos"
    for digit in DIGITS[:3]:
        (folder / digit / "more").mkdir(parents=True)
        for i, path in enumerate(sorted((fashion_images / "test" / digit).iterdir())[:10]):
            shutil.copy2(path, folder / digit / ("more" if i % 3 == 0 else "") / path.name)
    (folder / "1" / 'broken, "so"\nit is.png').write_bytes(b"")
    return folder


class Listening(SilentProgress):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


class Hook(SilentProgress):
    """Calls `action` once `after` rows are done."""

    def __init__(self, after: int, action: Callable[[], None]) -> None:
        self.left = after
        self.action = action
        self.warnings: list[str] = []

    def advance(self, n: int = 1) -> None:
        before, self.left = self.left, self.left - n
        if before > 0 >= self.left:
            self.action()

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def label(photos: Path, out: Path, options: InferOptions = OPTIONS, **more: object) -> InferResult:
    return infer(Inputs(paths=(str(photos),)), out, out.parent / "model.onnx", options, **more)  # type: ignore[arg-type]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("after", [1, 9, 30])
def test_stopped_and_continued(photos: Path, model: Path, tmp_path: Path, after: int, suffix: str) -> None:
    out, whole = tmp_path / f"labels{suffix}", tmp_path / f"whole{suffix}"
    label(photos, whole)
    stop = threading.Event()
    first = label(photos, out, progress=Hook(after, stop.set), stop=stop)
    assert not first.complete
    assert not out.exists()
    kept = rows(tmp_path / f"labels{suffix}.partial")
    assert len(kept) - 1 == first.n_files >= after
    second = label(photos, out)
    assert second.complete
    assert second.n_continued >= first.n_files - 3
    assert out.read_bytes() == whole.read_bytes()
    for name in ("report.csv", "confusion.csv"):
        assert (tmp_path / f"labels.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize("content", [b"\0" * 512, b"path,la", b"path,label,confid" + b"\0" * 4096])
def test_a_first_line_that_was_torn_is_ours(photos: Path, model: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv.partial").write_bytes(content)
    assert label(photos, tmp_path / "labels.csv").n_continued == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_torn_anywhere(photos: Path, model: Path, tmp_path: Path, data: st.DataObject) -> None:
    """The partial cut off after any byte, or with the blocks of a power failure at its end."""
    whole, out = tmp_path / "whole.csv", tmp_path / "labels.csv"
    if not whole.exists():
        label(photos, whole)
    text = whole.read_bytes()
    cut = data.draw(st.integers(0, len(text)))
    ends = [b"", b"\0" * 512, b'"'] if cut > text.index(b"\n") else [b"", b"\0" * 512]
    (tmp_path / "labels.csv.partial").write_bytes(text[:cut] + data.draw(st.sampled_from(ends)))
    result = label(photos, out)
    assert out.read_bytes() == text
    whole_rows = text[:cut].count(b"\r\n") - 1
    assert result.n_continued >= (whole_rows // 4 - 1) * 4


def test_a_partial_of_something_else(photos: Path, model: Path, tmp_path: Path) -> None:
    out, partial, whole = tmp_path / "labels.csv", tmp_path / "labels.csv.partial", tmp_path / "whole.csv"
    label(photos, whole)
    for foreign in (replace(OPTIONS, top_k=2), replace(OPTIONS, max_pixels=10**6)):
        label(photos, out, foreign)
        out.rename(partial)
        hook = Hook(0, lambda: None)
        result = label(photos, out, progress=hook)
        assert result.n_continued == 0
        assert "labels.csv.partial is of another model" in hook.warnings[0]
        assert out.read_bytes() == whole.read_bytes()
        out.unlink()


@pytest.mark.parametrize("content", [b"a,b\r\n1,2\r\n", b"\xff\xd8\xff\xe0"])
def test_a_partial_that_is_not_ours(photos: Path, model: Path, tmp_path: Path, content: bytes) -> None:
    partial = tmp_path / "labels.csv.partial"
    partial.write_bytes(content)
    with pytest.raises(InputError, match="did not write it"):
        label(photos, tmp_path / "labels.csv")
    assert partial.read_bytes() == content


def test_inputs_that_changed_while_a_run_was_stopped(photos: Path, model: Path, tmp_path: Path) -> None:
    """An image more at the front and one less: the other rows are still used."""
    out, stop = tmp_path / "labels.csv", threading.Event()
    label(photos, out, progress=Hook(20, stop.set), stop=stop)
    shutil.copy2(next((photos / "2").glob("*.png")), photos / "0" / "0.png")
    sorted((photos / "0").glob("*.png"))[2].unlink()
    result = label(photos, out)
    assert result.n_continued >= 15
    fresh = tmp_path / "fresh.csv"
    label(photos, fresh)
    assert out.read_bytes() == fresh.read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_update(photos: Path, model: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"labels{suffix}"
    updating = replace(OPTIONS, update=True)
    assert label(photos, out, updating).n_kept == 0
    before, written = out.read_bytes(), out.stat()
    same = label(photos, out, updating)
    assert (same.n_kept, same.n_new, same.n_gone) == (31, 0, 0)
    assert out.stat().st_ino == written.st_ino
    assert out.stat().st_mtime_ns == written.st_mtime_ns

    images = sorted(photos.glob("*/*.png"))
    shutil.copy2(images[-1], photos / "0" / "000.png")
    shutil.copy2(images[-2], images[5])
    os.utime(images[5], ns=(1, 1))
    images[8].unlink()
    result = label(photos, out, updating)
    assert (result.n_kept, result.n_new, result.n_gone) == (29, 2, 1)
    fresh = tmp_path / f"fresh{suffix}"
    label(photos, fresh)
    assert out.read_bytes() == fresh.read_bytes() != before

    redone = label(photos, out, replace(updating, min_confidence=0.1))
    assert redone.redone
    assert redone.n_kept == 0
    write_mean_network(tmp_path / "model.onnx", contract(DIGITS, 28, Colour.GREY), seed=1)
    assert label(photos, out, replace(updating, min_confidence=0.1)).redone


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".json"])
def test_rows_of_another_model_are_not_replaced_without_a_word(
    photos: Path, model: Path, tmp_path: Path, suffix: str
) -> None:
    out, told = tmp_path / f"labels{suffix}", Listening()
    label(photos, out, progress=told)
    label(photos, out, progress=told)
    assert told.heard == []
    write_mean_network(tmp_path / "model.onnx", contract(DIGITS, 28, Colour.GREY), seed=1)
    label(photos, out, progress=told)
    (line,) = told.heard
    assert re.fullmatch(
        rf".*/labels{suffix}: replaces the rows of another model or other options \([0-9a-f]{{12}} -> [0-9a-f]{{12}}\)",
        line,
    )


def test_update_that_is_stopped(photos: Path, model: Path, tmp_path: Path) -> None:
    out, stop = tmp_path / "labels.csv", threading.Event()
    updating = replace(OPTIONS, update=True)
    label(photos, out)
    for path in sorted(photos.glob("*/*.png"))[::2]:
        os.utime(path, ns=(5, 5))
    old = out.read_bytes()
    assert not label(photos, out, updating, progress=Hook(12, stop.set), stop=stop).complete
    assert out.read_bytes() == old
    label(photos, out, updating)
    fresh = tmp_path / "fresh.csv"
    label(photos, fresh)
    assert out.read_bytes() == fresh.read_bytes()


def test_unreadable_files_are_tried_again_by_update(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    link = photos / "0" / "link.png"
    link.symlink_to(tmp_path / "absent.png")
    assert label(photos, out).n_errors == 2
    assert [row[-3:-1] for row in rows(out) if "cannot be read" in row[5]] == [["", ""]]
    shutil.copy2(next((photos / "2").glob("*.png")), tmp_path / "absent.png")
    assert label(photos, out, replace(OPTIONS, update=True)).n_errors == 1


def test_a_clock_that_jumps(photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files from the future and a clock that runs backwards change nothing."""
    out, whole, stop = tmp_path / "labels.csv", tmp_path / "whole.csv", threading.Event()
    for path in sorted(photos.glob("*/*.png"))[::3]:
        os.utime(path, (4e9, 4e9))
    label(photos, whole)
    clock = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    label(photos, out, progress=Hook(10, stop.set), stop=stop)
    label(photos, out)
    assert label(photos, out, replace(OPTIONS, update=True)).n_kept == 31
    assert out.read_bytes() == whole.read_bytes()


def test_a_folder_that_vanishes(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    image = next((photos / "0").glob("*.png"))
    for n in range(200):  # more than is listed ahead of the first row
        (photos / f"{n:03}").mkdir()
        os.link(image, photos / f"{n:03}" / "a.png")
    result = label(photos, out, replace(OPTIONS, workers=1), progress=Hook(1, lambda: shutil.rmtree(photos)))
    assert result.unread
    assert result.n_files == len(rows(out)) - 1
    old = out.read_bytes()
    with pytest.raises(InputError, match="found nothing"):
        label(photos, out)
    assert out.read_bytes() == old


def test_files_that_vanish_get_their_row(photos: Path, model: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    names = [*map(str, sorted(photos.glob("0/*.png"))), str(photos / "gone.png"), str(photos)]
    listed.write_text("\n".join(names) + "\n")
    with listed.open("rb") as stdin:
        result = infer(Inputs(paths=("-",), stdin=stdin), tmp_path / "labels.csv", model, OPTIONS)
    found = rows(tmp_path / "labels.csv")[1:]
    assert [row[0] for row in found] == names
    assert "No such file" in found[-2][5]
    assert "found a folder" in found[-1][5]
    assert result.n_errors == 2


def test_one_run_at_a_time(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with lock(out):
        done = run_cli("infer", "photos", "--out", "labels.csv", "-m", "model.onnx", cwd=tmp_path)
        with pytest.raises(LockedError), lock(out):
            pass
    assert done.returncode == 7
    assert f"process {os.getpid()}" in done.stderr
    assert not out.exists()
    assert run_cli("infer", "photos", "--out", "labels.csv", "-m", "model.onnx", cwd=tmp_path).returncode == 0


def test_a_target_that_cannot_be_written(photos: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cli("infer", "photos", "--out", "file/labels.csv", "-m", "model.onnx", cwd=tmp_path)
    assert done.returncode == 8, done.stderr
    assert "file/labels.csv" in done.stderr
    folder = tmp_path / "read-only"
    folder.mkdir()
    (folder / "labels.csv").write_text("old")
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write into a read-only folder")
    done = run_cli("infer", "photos", "--out", "read-only/labels.csv", "-m", "model.onnx", cwd=tmp_path)
    assert done.returncode == 8, done.stderr
    assert (folder / "labels.csv").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    return folder


@pytest.mark.parametrize("read_only", [False, True])
def test_a_full_or_read_only_disk(photos: Path, model: Path, small_disk: Path, tmp_path: Path, read_only: bool) -> None:
    out, whole = small_disk / "labels.csv", tmp_path / "whole.csv"
    shutil.copy2(model, tmp_path / "m.onnx")
    try:
        for disk in (small_disk, tmp_path):
            arguments = ("infer", "photos", "--out", disk / ("labels.csv" if disk == small_disk else "whole.csv"))
            assert run_cli(*arguments, "-m", "m.onnx", cwd=tmp_path).returncode == 0
        old = out.read_bytes()
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        else:
            (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096 - 8192))
        more = ("--probabilities", "--top-k", "9", "--batch-size", "4")
        done = run_cli("infer", "photos", "photos", "--out", out, "-m", "m.onnx", *more, cwd=tmp_path)
        assert done.returncode == 8, done.stderr
        words = os.strerror(errno.EROFS if read_only else errno.ENOSPC)
        assert words in done.stderr
        assert out.read_bytes() == old == whole.read_bytes()
        if not read_only:
            (small_disk / "filler").unlink()
            done = run_cli("infer", "photos", "photos", "--out", out, "-m", "m.onnx", *more, cwd=tmp_path)
            assert done.returncode == 0
            assert "by an earlier run" in done.stderr
    finally:
        subprocess.run(["umount", small_disk], check=True)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit", *arguments],
        cwd=cwd,
        env=environment(PYTHONPATH=str(ROOT)),
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


LINKS: Final = tuple(f"more{number}" for number in range(4))
"""More folders of the same images, by hard links: a folder that is given twice has one row a file."""


@pytest.fixture(scope="module")
def many(fashion_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with 4,000 images, a model, and the result of an undisturbed run."""
    folder = tmp_path_factory.mktemp("many")
    for digit in DIGITS:
        (folder / "photos" / digit).mkdir(parents=True)
        for path in sorted((fashion_images / "test" / digit).iterdir())[:400]:
            os.link(path, folder / "photos" / digit / path.name)
    for more in LINKS:
        shutil.copytree(folder / "photos", folder / more, copy_function=os.link)
    write_mean_network(folder / "model.onnx", contract(DIGITS, 28, Colour.GREY))
    assert run_cli("infer", "photos", "-o", "whole.csv", "-m", "model.onnx", cwd=folder).returncode == 0
    return folder


def kill_often(folder: Path, kills: int) -> None:
    """Kill at random moments of the whole process, and see that the next run ends as an undisturbed one does."""
    inputs = ("photos", *LINKS[:3])
    command = ("infer", *inputs, "-m", "model.onnx", "--batch-size", "16", "-o", "labels.csv")
    assert run_cli(*command[:-1], "whole16.csv", cwd=folder).returncode == 0
    whole = (folder / "whole16.csv").read_bytes()
    partial = folder / "labels.csv.partial"
    begun = time.monotonic()
    assert run_cli(*command, cwd=folder).returncode == 0
    length = time.monotonic() - begun
    rng = random.Random(0)
    with_partial = 0
    for kill in range(kills):
        (folder / "labels.csv").unlink(missing_ok=True)
        process = start(*command, cwd=folder)
        if kill % 2:  # at any moment, before the first row and after the last one, too
            time.sleep(rng.uniform(0.25, 1.05) * length)
        else:  # once so many bytes of rows are there
            n_bytes = rng.uniform(0.05, 0.6) * len(whole)
            while not (partial.exists() and partial.stat().st_size >= n_bytes):
                assert process.poll() is None
                time.sleep(0.002)
        process.kill()
        process.communicate()
        with_partial += partial.exists()
        assert run_cli(*command, cwd=folder).returncode == 0
        assert (folder / "labels.csv").read_bytes() == whole
        assert not (folder / "labels.csv.partial").exists()
    assert with_partial >= kills // 2


def test_killed_at_random_moments(many: Path) -> None:
    kill_often(many, 4)


@pytest.mark.slow
def test_killed_fifty_times(many: Path) -> None:
    kill_often(many, 50)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(many: Path, number: int, code: int) -> None:
    partial = many / "labels.csv.partial"
    command = ("infer", "photos", *LINKS, "-o", "labels.csv", "-m", "model.onnx")
    process = start(*command, "--batch-size", "4", cwd=many)
    while not (partial.exists() and partial.stat().st_size > 10_000):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert "the same command continues from there" in stderr
    assert len(stderr.splitlines()) == 1
    n_kept = len(rows(partial)) - 1
    assert f"stopped after {n_kept:,} files" in stderr
    done = run_cli(*command, "--batch-size", "4", "--log-format", "json", cwd=many)
    summary = json.loads(done.stderr)
    assert (summary["files"], summary["continued"], summary["event"]) == (20_000, n_kept, "finished")


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


@pytest.mark.skipif(not CAN_FORK, reason="workers are processes on Linux alone")
def test_a_worker_process_is_killed(many: Path) -> None:
    """As the system does where memory runs out: an error, what is done is kept, and the same command goes on."""
    command = ("infer", "photos", *LINKS, "-m", "model.onnx", "--batch-size", "4", "--workers", "2", "-o")
    partial = many / "one.csv.partial"
    assert run_cli(*command, "undisturbed.csv", cwd=many).returncode == 0
    process = start(*command, "one.csv", cwd=many)
    while not (partial.exists() and partial.stat().st_size > 10_000):
        time.sleep(0.005)
        assert process.poll() is None
    workers = children(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 8, stderr
    assert "a worker process was ended by signal 9" in stderr
    assert partial.exists()
    done = run_cli(*command, "one.csv", cwd=many)
    assert done.returncode == 0
    assert "by an earlier run" in done.stderr
    assert (many / "one.csv").read_bytes() == (many / "undisturbed.csv").read_bytes()


def test_locked_out_for_lack_of_rights(tmp_path: Path) -> None:
    (tmp_path / "labels.csv.lock").mkdir()
    with pytest.raises(MachineError), lock(tmp_path / "labels.csv"):
        pass
