"""Archives of class folders (.zip, .tar, .tar.gz, .tgz) -> their members, as untrusted input.

Nothing is ever unpacked under a name that the archive chooses: a member is bytes in memory under a checked name.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, cast

from toolkit.core.errors import InputError

SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
"""Names of archives end in one of these, in any case."""

MAX_MEMBER_BYTES: Final = 1 << 29
"""A larger member is refused: no image needs it, and one member at a time is held in memory."""

MAX_TOTAL_BYTES: Final = 1 << 30
"""An archive may unpack to this much, or to `MAX_RATIO` times its own size if that is more."""

MAX_TAIL_BYTES: Final = 64 << 20
"""What may follow the end of a .tar; a block of zeros usually."""

PIECE_BYTES: Final = 1 << 20
"""A member is unpacked in pieces of this size, and no further than to the size that the archive says."""

MAX_GLOBAL_HEADERS: Final = 100
"""Of a tar; packers write one or two."""

MAX_RATIO: Final = 30
"""Images are compressed already; an archive of them hardly shrinks."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        name: its place in the archive, forward slashes.
        size: bytes, unpacked.
        mtime_ns: modification time; zip archives know it to two seconds, without a time zone (taken as UTC).
        index: its position among the archive's files; a name may occur twice, a position not.
        refusal: why it is not read (a link, a device, a name that leads outside, encrypted, too large), else "".
    """

    name: str
    size: int
    mtime_ns: int
    index: int
    refusal: str = ""


def is_archive(path: Path) -> bool:
    """Whether the name of `path` is an archive's.

    >>> is_archive(Path("flower_photos.TGZ")), is_archive(Path("PetImages"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The name of an archive without its suffix.

    >>> stem(Path("flowers.tar.gz"))
    'flowers'
    """
    return next((path.name[: -len(end)] for end in SUFFIXES if path.name.lower().endswith(end)), path.name)


def members(path: Path) -> list[Member]:
    """All files in the archive, in the archive's order, folders left out.

    Where a name occurs twice, the later member wins, as it does when an archive is unpacked.

    Raises:
        InputError: not an archive, damaged, or one that unpacks to far more than its own size.
    """
    listed = [member for member, _ in _entries(path, frozenset())]
    total = sum(member.size for member in listed if not member.refusal)
    limit = _limit(path)
    if total > limit:
        raise InputError(
            f"{path}: {path.stat().st_size:,} bytes unpack to {total:,}; more than {limit:,} is refused as a bomb",
            hint="if you trust it, unpack it yourself and give the folder",
        )
    return list({member.name: member for member in listed}.values())


def contents(path: Path, wanted: Collection[Member]) -> Iterator[tuple[Member, bytes | InputError]]:
    """The members `wanted`, none of them refused, with their bytes, in the archive's order, in one pass.

    A member that cannot be unpacked comes with the error in place of its bytes.

    Raises:
        InputError: the archive itself is damaged.
    """
    indices = frozenset(member.index for member in wanted)
    for member, data in _entries(path, indices):
        if member.index in indices:
            yield member, data


def _entries(path: Path, wanted: frozenset[int]) -> Iterator[tuple[Member, bytes | InputError]]:
    """Every file in the archive; with its bytes where its index is `wanted`."""
    try:
        yield from _zip(path, wanted) if path.name.lower().endswith(".zip") else _tar(path, wanted)
    except _HOSTILE as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(path, error) from None


_HOSTILE: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError),
)
"""What the standard library raises for archives that were made to break it."""


def _limit(path: Path) -> int:
    """Bytes that the members of the archive may have together."""
    return max(MAX_TOTAL_BYTES, MAX_RATIO * path.stat().st_size)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: this archive is damaged, cut off, or not what its name says ({error})",
        hint="fetch it again, or unpack what can be read of it and give the folder",
    )


def _zip(path: Path, wanted: frozenset[int]) -> Iterator[tuple[Member, bytes | InputError]]:
    with zipfile.ZipFile(path) as archive:
        if sum(info.compress_size for info in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("its members overlap")
        for index, info in enumerate(info for info in archive.infolist() if not info.is_dir()):
            name = _zip_name(info)
            refusal = _refusal(name, info.file_size)
            if not refusal and (info.external_attr >> 16) & 0xF000 not in (0, 0x8000):
                refusal = "a link or a device in an archive"
            if not refusal and info.flag_bits & 1:
                refusal = "encrypted in the archive"
            member = Member(name, info.file_size, _zip_mtime_ns(info), index, refusal)
            yield member, _unzip(archive, info) if index in wanted else b""


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Some packers write UTF-8 without saying so, others backslashes."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _zip_mtime_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        return 0


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | InputError:
    parts, left = [], info.file_size
    try:
        with archive.open(info) as file:
            while part := file.read(min(left + 1, PIECE_BYTES)):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    return InputError(f"unpacks to more than the {info.file_size:,} bytes that the archive says")
    except (OSError, *_HOSTILE) as error:
        return InputError(f"cannot be unpacked ({error})")
    return b"".join(parts)


class _Bounded:
    """A stream that gives no more than was allowed: a header that declares 2**62 bytes is not looked for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MAX_TAIL_BYTES

    def allow(self, n_bytes: int) -> None:
        """Let `n_bytes` more be read, and a generous header."""
        self._left = n_bytes + MAX_TAIL_BYTES

    def read(self, n: int) -> bytes:
        """As of any stream."""
        data = self._stream.read(n)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError("it holds more than its headers say")
        return data


def _tar(path: Path, wanted: frozenset[int]) -> Iterator[tuple[Member, bytes | InputError]]:
    limit, n_packed = _limit(path), path.stat().st_size
    with _unzipped(path) as stream:
        bounded, index = _Bounded(stream), -1
        archive = tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|", errorlevel=1)  # noqa: SIM115
        for info in archive:
            if len(archive.pax_headers) > MAX_GLOBAL_HEADERS:  # tarfile goes through them for every member
                raise tarfile.ReadError(f"it has more than {MAX_GLOBAL_HEADERS:,} global headers")
            limit -= max(info.size, 0)
            if info.size < 0 or limit < 0 or (not isinstance(stream, gzip.GzipFile) and info.size > n_packed):
                raise tarfile.ReadError(f"it declares {info.size:,} bytes for one member")
            bounded.allow(info.size)
            if info.isdir():
                continue
            index += 1
            name = info.name.removeprefix("./")
            refusal = _refusal(name, info.size)
            if not refusal and (not info.isreg() or info.issparse()):
                refusal = "a link or a device in an archive"
            member = Member(name, info.size, _tar_mtime_ns(info.mtime), index, refusal)
            file = archive.extractfile(info) if index in wanted else None
            yield member, file.read() if file else b""
        for _ in range(MAX_TAIL_BYTES >> 20):  # what gzip knows of its bytes is compared at the very end
            if not stream.read(1 << 20):
                return
        raise tarfile.ReadError("there is data behind its end")


def _tar_mtime_ns(seconds: float) -> int:
    """A time between 1970 and the year 9999; 0 for any other."""
    return int(seconds * 1_000_000_000) if 0 <= seconds < 253_402_300_800 else 0


def _unzipped(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")


def _refusal(name: str, size: int) -> str:
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/") or "\0" in name:
        return "its name leads out of the archive"
    if size > MAX_MEMBER_BYTES:
        return f"unpacks to {size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
    return ""
