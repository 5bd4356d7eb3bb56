"""Many items at once: in order, complete, and with every way a worker can end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from support.command_line import ROOT, environment

from toolkit.core.errors import MachineError, ModelError
from toolkit.core.parallel import AHEAD_BYTES, CAN_FORK, Processes, in_threads

forks = pytest.mark.skipif(not CAN_FORK, reason="processes are forked on Linux alone")


def in_processes(function: Callable[[int], object], items: Iterator[int], workers: int) -> Iterator[object]:
    with Processes(function, workers) as processes:
        yield from processes.map(items)


ways = pytest.mark.parametrize("way", [in_threads, pytest.param(in_processes, marks=forks)])
Way = Callable[[Callable[[int], object], Iterator[int], int], Iterator[object]]


def slowly(n: int) -> int:
    time.sleep(0.002 * (n % 3))
    return n * n


@ways
@pytest.mark.parametrize("n_items", [0, 1, 2, 50])
@pytest.mark.parametrize("workers", [1, 3])
def test_in_order(way: Way, n_items: int, workers: int) -> None:
    assert list(way(slowly, iter(range(n_items)), workers)) == [n * n for n in range(n_items)]


@ways
def test_few_are_taken_ahead(way: Way) -> None:
    """Memory does not grow with the items: none is taken long before its turn."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(200):
            taken += 1
            yield n

    for given, _ in enumerate(way(slowly, items(), 2)):
        assert taken - given <= 4 * 2 + 2


@ways
def test_an_error_comes_after_the_results_before_it(way: Way) -> None:
    def fails(n: int) -> int:
        if n == 7:
            raise ModelError("seven", hint="eight")
        return n

    found: list[object] = []
    with pytest.raises(ModelError) as raised:
        found.extend(way(fails, iter(range(20)), 2))
    assert (found, raised.value.message, raised.value.hint) == ([*range(7)], "seven", "eight")


@ways
def test_an_error_of_the_items_comes_after_their_results(way: Way) -> None:
    def items() -> Iterator[int]:
        yield from range(9)
        raise ModelError("no more")

    found: list[object] = []
    with pytest.raises(ModelError, match="no more"):
        found.extend(way(slowly, items(), 2))
    assert found == [n * n for n in range(9)]


@forks
def test_an_error_that_cannot_be_sent() -> None:
    class LocalError(Exception):
        pass

    def fails(_: int) -> int:
        raise LocalError("only here")

    with pytest.raises(RuntimeError, match="LocalError: only here"):
        list(in_processes(fails, iter([1]), 1))


@forks
def test_large_items_and_results_do_not_block() -> None:
    """More than a pipe holds, both ways."""
    items = [bytes([n]) * (40 * AHEAD_BYTES if n % 2 else 10) for n in range(12)]

    def thrice(item: bytes) -> bytes:
        return item * 3

    with Processes(thrice, 2) as processes:
        assert list(processes.map(items)) == [item * 3 for item in items]


@forks
@pytest.mark.parametrize(("end", "words"), [(signal.SIGKILL, "ended by signal 9"), (None, "ended with 3")])
def test_a_worker_that_dies(end: signal.Signals | None, words: str) -> None:
    def dies(n: int) -> int:
        if n == 5:
            os.kill(os.getpid(), end) if end else os._exit(3)
        return n

    found: list[object] = []
    with pytest.raises(MachineError, match=words), Processes(dies, 2) as processes:
        found.extend(processes.map(range(20)))
    assert found == [*range(len(found))]
    assert len(found) <= 5


@forks
def test_where_the_system_refuses_a_process_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def fork() -> int:
        if len(pids) == 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pids.append(real())
        return pids[-1]

    real = os.fork
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(MachineError, match="no worker process can be started"), Processes(slowly, 3):
        pass
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


PARENT = """
import os, time
from toolkit.core.parallel import Processes
with Processes(lambda n: time.sleep(0.01) or os.getpid(), 3) as processes:
    for pid in processes.map(range(10**9)):
        print(pid, flush=True)
"""


@forks
def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=str(ROOT))
    )
    assert parent.stdout is not None
    pids = {int(parent.stdout.readline()) for _ in range(30)}
    assert len(pids) > 1
    parent.kill()
    parent.stdout.read()  # ends when the last process that holds the other end has ended
    parent.wait()
    parent.stdout.close()
