"""The memory budget: what fits runs together, what is large waits, what never fits is an error."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from support.hostile_images import flat_jpeg, flat_png

from toolkit.core.errors import UsageError
from toolkit.core.memory import ForkedBudget, MemoryBudget, parse_bytes
from toolkit.images.decode import decode
from toolkit.images.formats.common import Header
from toolkit.images.header import DecodeError, read_header
from toolkit.images.limits import Limits, decoding_cost
from toolkit.images.spec import Colour, Preprocess

SPEC = Preprocess(height=32, width=32)


def test_at_no_time_is_more_held_than_there_is() -> None:
    budget = MemoryBudget(100)
    held, most, lock = [0], [0], threading.Lock()

    def work(n_bytes: int) -> None:
        for _ in range(20):
            with budget.hold(n_bytes):
                with lock:
                    held[0] += n_bytes
                    most[0] = max(most[0], held[0])
                time.sleep(0.0005)
                with lock:
                    held[0] -= n_bytes

    threads = [threading.Thread(target=work, args=(n,)) for n in (10, 30, 40, 60, 70, 100, 25, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert 60 < most[0] <= 100


def test_an_inner_hold_gives_back_what_the_outer_one_does_not_need() -> None:
    budget = MemoryBudget(100)
    with budget.hold(1_000), budget.hold(30):
        done = threading.Event()

        def other() -> None:
            with budget.hold(70):
                done.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(timeout=30)
        thread.join()
    with budget.hold(100):
        pass


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child


def test_forked_processes_run_together_or_alone() -> None:
    budget = ForkedBudget(100, 2)
    read, write = os.pipe()
    entered, go = os.pipe()
    beside, told = os.pipe()

    def first(n_bytes: int) -> None:
        with budget.hold(n_bytes):
            os.write(go, b"1")
            if n_bytes <= 50:  # there is room for both: this one ends after the other
                os.read(beside, 1)
            else:
                time.sleep(0.3)
            os.write(write, b"a")

    def second(n_bytes: int) -> None:
        os.read(entered, 1)
        with budget.hold(n_bytes):
            os.write(write, b"b")
            os.write(told, b"1")

    for n_bytes, order in ((90, b"ab"), (40, b"ba")):
        children = [forked(partial(first, n_bytes)), forked(partial(second, n_bytes))]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert os.read(read, 2) == order
        if n_bytes > 50:
            os.read(beside, 1)
    for handle in (read, write, entered, go, beside, told):
        os.close(handle)


def test_a_killed_process_holds_nothing_up() -> None:
    budget = ForkedBudget(100, 2)
    child = os.fork()
    if not child:
        with budget.hold(90):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with budget.hold(90):
        pass


def test_what_never_fits_is_an_error_and_more_memory_mends_it() -> None:
    data = flat_png(4_000, 8, 2)
    with pytest.raises(DecodeError, match=r"would take about .* more than 30 MB \(see --max-memory\)") as caught:
        decode(data, SPEC, limits=Limits.of(max_memory=40_000_000))
    assert caught.value.kind == "too_large"
    assert decode(data, SPEC, limits=Limits.of(max_memory="200MB")).shape == (32, 32, 3)


def test_a_jpeg_is_estimated_as_it_is_reduced() -> None:
    data = flat_jpeg(8_000, 3)
    header = read_header(data)
    full, reduced = (decoding_cost(header, len(data), Colour.RGB, p).memory for p in (1, 8))
    assert full > 300_000_000
    assert reduced < 30_000_000
    assert decode(data, SPEC, limits=Limits.of(max_memory=32_000_000)).shape == (32, 32, 3)


def test_a_dense_file_may_take_the_budget_and_a_thin_one_may_not() -> None:
    header = Header("png", 14_000, 14_000)
    limits = Limits.of(max_memory=None)
    object.__setattr__(limits, "budget", MemoryBudget(8 << 30))
    with limits.admit(header, 300_000_000, Colour.RGB, 1):
        pass
    with pytest.raises(DecodeError, match="--max-memory"):
        limits.admit(header, 600_000, Colour.RGB, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2GB", 2 * 10**9), ("512m", 512 * 10**6), ("1.5 G", 15 * 10**8), (10**8, 10**8), (None, None)],
)
def test_sizes_as_people_write_them(text: str | int | None, value: int | None) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "lots", "-1", "1KB", "nan", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        parse_bytes(text)
