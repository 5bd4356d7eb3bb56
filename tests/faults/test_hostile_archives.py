"""Archives that lie about their sizes, times and names: refused or read in little memory and time, never a bug."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import small
from support.command_line import Cli

from toolkit.core.errors import InputError
from toolkit.data import archive

MANY = 40_000_000


def tar(path: Path, pax: dict[str, str] | None = None, *, zipped: bool = False, **fields: float | str) -> Path:
    """Two good members for each class, and one with the given metadata."""
    with tarfile.open(path, "w:gz" if zipped else "w", format=tarfile.PAX_FORMAT) as out:
        for k, label in enumerate(small.LABELS):
            for i in range(2):
                data = small.png(100 * k + i)
                info = tarfile.TarInfo(f"pets/{label}/{i}.png")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        data = small.png(9)
        info = tarfile.TarInfo(str(fields.pop("name", "pets/Cat/odd.png")))
        info.size = len(data)
        info.pax_headers = pax or {}
        for name, value in fields.items():
            setattr(info, name, value)
        out.addfile(info, io.BytesIO(data))
    return path


def declares(size: int, *, zipped: bool) -> Callable[[Path], Path]:
    return lambda path: tar(path, {"size": str(size)}, zipped=zipped)


def long_pax_header(path: Path) -> Path:
    """A Pax header of 2**40 bytes, in a gzip of zeros: to be read, it would have to be held in memory."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes(block))
        for _ in range(400):
            file.write(bytes(1 << 20))
    return path


def long_tail(path: Path) -> Path:
    tar(path, zipped=True)
    with gzip.open(path, "ab", compresslevel=1) as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    return path


REFUSED = {
    "size of 2**62": (".tar", declares(1 << 62, zipped=False)),
    "size of 2**62, zipped": (".tgz", declares(1 << 62, zipped=True)),
    "negative size": (".tar", declares(-512, zipped=False)),
    "more than the archive": (".tar", declares(10_000_000, zipped=False)),
    "a header of 2**40 bytes": (".tgz", long_pax_header),
    "a long tail": (".tgz", long_tail),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sizes_are_compared_with_the_archive(case: str, tmp_path: Path, run: Cli) -> None:
    suffix, make = REFUSED[case]
    path = make(tmp_path / f"pets{suffix}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tracemalloc.start()
    with pytest.raises(InputError):
        archive.members(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * archive.MAX_TAIL_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 60
    assert run("check", path).code == 3


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "-1", "abc", "9" * 5000])
def test_times_that_are_none(value: str, tmp_path: Path, run: Cli) -> None:
    path = tar(tmp_path / "pets.tar", {"mtime": value})
    assert run("check", path).code in (0, 3)
    done = run("split", path, "--out", "parts")
    assert done.code in (0, 3), done.err
    assert "bug" not in done.err


@pytest.mark.parametrize(
    "pax",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
        {"GNU.sparse.map": "0,a,1"},
        {"GNU.sparse.map": ",".join(["0"] * 99_999)},
        {"GNU.sparse.realsize": "1" * 400},
        {"path": "\0" * 10},
        {"uid": "x"},
        {"linkpath": "../../etc/passwd"},
    ],
    ids=str,
)
def test_crafted_headers(pax: dict[str, str], tmp_path: Path, run: Cli) -> None:
    path = tar(tmp_path / "pets.tar", {name: value[:200_000] for name, value in pax.items()})
    done = run("check", path)
    assert done.code in (0, 3), done.err
    assert "bug" not in done.err


@pytest.mark.parametrize("inner", ["n" * 256 + ".png", "d/" * 1200 + "x.png", "ä" * 200], ids=["name", "deep", "bytes"])
@pytest.mark.parametrize("mode", ["split", "check"])
def test_names_too_long_for_a_file_system_leave_one_file_out(inner: str, mode: str, tmp_path: Path, run: Cli) -> None:
    path = tar(tmp_path / "pets.tar", name=f"pets/Cat/{inner}")
    done = run(mode, path, "--out", "parts" if mode == "split" else "findings.csv")
    assert done.code == 0, done.err
    if mode == "split":
        assert len(list((tmp_path / "parts").glob("*/*/*.png"))) == 4


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../x.png", "pets/Cat/../../../x.png", "C:/x.png", "pets/Cat/a\0b.png"]
)
def test_names_that_lead_outside_write_nothing_there(name: str, tmp_path: Path, run: Cli) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as out:
        for label in small.LABELS:
            for i in range(2):
                out.writestr(f"pets/{label}/{i}.png", small.png(i))
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        out.writestr(info, small.png(9))
    before = sorted(p.name for p in tmp_path.iterdir())
    done = run("split", path, "--out", "inner/parts")
    assert done.code in (0, 3), done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def overlapping(path: Path, n: int = 200) -> Path:
    """Many entries of the directory that point to one member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("pets/Cat/0.png", bytes(1_000_000))
        info = out.infolist()[0]
        for i in range(1, n):
            twin = zipfile.ZipInfo(f"pets/Cat/{i}.png")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(twin, field, getattr(info, field))
            out.filelist.append(twin)
            out.NameToInfo[twin.filename] = twin
    return path


def lies_about_its_size(path: Path) -> Path:
    """Declares 100 bytes, and unpacks to 60 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for label in small.LABELS:
            out.writestr(f"pets/{label}/0.png", small.png(1))
        with out.open(zipfile.ZipInfo("pets/Cat/bomb.png"), "w") as file:
            for _ in range(60):
                file.write(bytes(1_000_000))
    data = bytearray(path.read_bytes())
    real = struct.pack("<I", 60_000_000)
    while (at := data.find(real)) >= 0:
        data[at : at + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    return path


def nested(path: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("zeros", bytes(10_000_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for label in small.LABELS:
            out.writestr(f"pets/{label}/0.png", small.png(1))
        for i in range(5):
            out.writestr(f"pets/Cat/{i}.zip", inner.getvalue())
    return path


def declares_terabytes(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for i in range(4000):
            info = zipfile.ZipInfo(f"pets/Cat/{i}.png")
            out.writestr(info, b"")
            out.filelist[-1].file_size = 1 << 29
    return path


@pytest.mark.parametrize(
    ("make", "codes"),
    [(overlapping, {3}), (lies_about_its_size, {0}), (nested, {0}), (declares_terabytes, {3})],
)
def test_zip_bombs(make: Callable[[Path], Path], codes: set[int], tmp_path: Path, run: Cli) -> None:
    path = make(tmp_path / "pets.zip")
    tracemalloc.start()
    done = run("check", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.code in codes, done.err
    assert peak < MANY


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".tar", ".tgz", ".zip"]), data=st.data())
def test_mutated_archives_are_read_or_refused(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / f"pets{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("pets/Cat/0.png", small.png(1))
            out.writestr("pets/Dog/0.png", small.png(2))
    else:
        tar(path, zipped=suffix == ".tgz")
    octets = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(octets[: data.draw(st.integers(1, len(octets)))])
    try:
        members = archive.members(path)
        for _, content in archive.contents(path, [member for member in members if not member.refusal]):
            assert isinstance(content, bytes | InputError)
    except InputError:
        pass
