"""Files in parallel: their order, errors, and how much of an archive is in memory at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from toolkit.data.class_source import Load, SourceFile
from toolkit.data.probe import CHUNK_FILES, parallel_map
from toolkit.images.limits import LARGE_FILE_BYTES


def files(sizes: list[int]) -> list[SourceFile]:
    return [SourceFile(name=f"{i}.jpg", label="Cat", size=size, mtime_ns=0) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers: int) -> None:
    listed = files([10] * (3 * CHUNK_FILES + 5))
    items = [(file, bytes) for file in listed]
    assert list(parallel_map(lambda file, _: file, items, workers)) == listed


@pytest.mark.parametrize("workers", [1, 3])
def test_one_large_member_of_an_archive_is_in_memory_at_once(workers: int) -> None:
    in_memory: set[str] = set()
    most = 0

    def members() -> Iterator[tuple[SourceFile, Load]]:
        nonlocal most
        for file in files([LARGE_FILE_BYTES + 1] * 12):
            in_memory.add(file.name)
            most = max(most, len(in_memory))
            yield file, bytes

    def look(file: SourceFile, _: Load) -> str:
        in_memory.remove(file.name)
        return file.name

    assert list(parallel_map(look, members(), workers)) == [f"{i}.jpg" for i in range(12)]
    assert most == 1


def test_an_error_comes_out_and_ends_it() -> None:
    def broken(file: SourceFile, _: Load) -> str:
        raise KeyError(file.name)

    with pytest.raises(KeyError):
        list(parallel_map(broken, [(file, bytes) for file in files([LARGE_FILE_BYTES + 1] * 9)], 2))
