"""A function over a stream of items on many processors at once, its results in the order of the items.

Threads share all memory and cost nothing to start, and OpenCV and onnxruntime let others run meanwhile. Where the work
on an item is mostly Python's own, they only wait for each other; processes that are forked do not.
"""

from __future__ import annotations

import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from toolkit.core.errors import MachineError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

Item = TypeVar("Item")
Result = TypeVar("Result")
_Outcome = tuple[Result | None, BaseException | None]

CAN_FORK: Final = sys.platform == "linux"
"""Elsewhere a fork is missing, or not safe once system libraries are loaded."""

AHEAD_BYTES: Final = 1 << 15
"""A larger item waits until its process has nothing to do, so that both ends never wait for room in the pipe."""


def in_threads(function: Callable[[Item], Result], items: Iterator[Item], workers: int) -> Iterator[Result]:
    """`function` over `items` in threads; memory does not grow with their number."""
    with OrderedMap(function, items, workers) as results:
        yield from results


class Processes(Generic[Item, Result]):
    """`function` in `workers` forked processes; on leaving, what is in flight is finished and they have ended.

    They hold what is in memory on entering, so enter before anything is locked or opened that must not outlive this
    process, and before threads are started. However this process ends, they end too: their pipe is closed then.
    """

    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        self._function = function
        self._workers = workers
        self._processes: dict[Connection, ForkProcess] = {}

    def __enter__(self) -> Processes[Item, Result]:
        """Start them.

        Raises:
            MachineError: the system refuses another process.
        """
        import multiprocessing

        context = multiprocessing.get_context("fork")
        try:
            for _ in range(self._workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(self._function, theirs, [*self._processes, ours]))
                process.start()
                theirs.close()
                self._processes[ours] = process
        except BaseException as error:
            self.__exit__()
            if isinstance(error, OSError):
                raise MachineError(
                    f"no worker process can be started ({error.strerror})", hint="--workers 1 needs no such process"
                ) from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._processes:
            pipe.close()
        for process in self._processes.values():
            process.join()

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order of the items; at most `4 * workers` items are under way or wait to be taken.

        Raises:
            MachineError: a process was killed, or died.
            Exception: what `function` or `items` raised, after the results of the items before.
        """
        from multiprocessing.connection import wait

        todo = _Todo(items)
        under_way: dict[Connection, deque[int]] = {pipe: deque() for pipe in self._processes}
        done: dict[int, _Outcome[Result]] = {}
        given = 0
        while todo.data is not None or given < todo.index:
            for depth in (0, 1):  # the next item is there when a process has finished one
                for pipe, indices in under_way.items():
                    room = len(indices) == depth and todo.index - given < 4 * self._workers
                    if room and todo.data is not None and (depth == 0 or len(todo.data) <= AHEAD_BYTES):
                        self._send(pipe, todo.data)
                        indices.append(todo.index)
                        todo.step()
            for ready in wait([pipe for pipe, indices in under_way.items() if indices]):
                pipe = cast("Connection", ready)
                done[under_way[pipe].popleft()] = self._receive(pipe)
            while given in done:
                result, error = done.pop(given)
                given += 1
                if error is not None:
                    raise error
                yield result  # type: ignore[misc]
        if todo.error is not None:
            raise todo.error

    def _send(self, pipe: Connection, data: bytes) -> None:
        try:
            pipe.send_bytes(data)
        except OSError:
            raise self._death(pipe) from None

    def _receive(self, pipe: Connection) -> _Outcome[Result]:
        try:
            outcome: _Outcome[Result] = pipe.recv()
        except (EOFError, OSError):
            raise self._death(pipe) from None
        return outcome

    def _death(self, pipe: Connection) -> MachineError:
        process = self._processes[pipe]
        process.join()
        code = process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return MachineError(
            f"a worker process {how}; too little memory, or a fault in a library",
            hint="the same command continues from there; --workers 1 needs the least memory and no such process",
        )


class _Todo:
    """The next item, pickled, and its index; `data` is None at the end, and `error` what ended the stream."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = iter(items)
        self.index = -1
        self.data: bytes | None = None
        self.error: Exception | None = None
        self.step()

    def step(self) -> None:
        self.index += 1
        try:
            self.data = pickle.dumps(next(self._items))
        except StopIteration:
            self.data = None
        except Exception as error:
            self.data, self.error = None, error


def _serve(function: Callable[[Item], Result], pipe: Connection, inherited: Sequence[Connection]) -> None:
    """A process's life: items in, outcomes out, until the other end of the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; our parent decides what to finish
        signal.signal(number, signal.SIG_IGN)
    for other in inherited:
        other.close()
    try:
        while True:
            pipe.send_bytes(_outcome(function, pipe.recv()))
    except (EOFError, OSError):
        return


def _outcome(function: Callable[[Item], Result], item: Item) -> bytes:
    try:
        return pickle.dumps((function(item), None))
    except Exception as error:
        error.add_note("in a worker process:\n" + traceback.format_exc())
        try:
            pickle.loads(whole := pickle.dumps((None, error)))
        except Exception:
            return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")))
        return whole


class OrderedMap(Generic[Item, Result]):
    """`function` over `items` in `workers` threads, results in the order of the items.

    At most `4 * workers` items are under way or waiting to be taken, so memory does not grow with their number.
    Use it as a context manager: on leaving, what is in flight is finished and the threads have ended.
    """

    def __init__(self, function: Callable[[Item], Result], items: Iterator[Item], workers: int) -> None:
        self._function = function
        self._items = items
        self._limit = 4 * workers
        self._source = threading.Lock()
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._results: dict[int, tuple[Result | None, BaseException | None]] = {}
        self._taken = 0
        self._given = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"worker-{i}") for i in range(workers)]

    def __enter__(self) -> OrderedMap[Item, Result]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Take no more items; what is in flight is finished and still comes out."""
        with self._lock:
            self._closed = True
            self._room.notify_all()
            self._ready.notify_all()

    def __iter__(self) -> Iterator[Result]:
        while True:
            with self._lock:
                while self._given not in self._results:
                    if self._closed and self._given == self._taken:
                        return
                    self._ready.wait()
                result, error = self._results.pop(self._given)
                self._given += 1
                self._room.notify()
            if error is not None:
                raise error
            yield result  # type: ignore[misc]

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            index, item = taken
            try:
                outcome: tuple[Result | None, BaseException | None] = (self._function(item), None)
            except BaseException as error:
                outcome = (None, error)
            self._put(index, outcome)

    def _take(self) -> tuple[int, Item] | None:
        """The next item and its place; None at the end."""
        with self._source:
            with self._lock:
                while not self._closed and self._taken - self._given >= self._limit:
                    self._room.wait()
                if self._closed:
                    return None
                index = self._taken
                self._taken += 1
            try:
                return index, next(self._items)
            except StopIteration:
                with self._lock:
                    self._taken -= 1
            except BaseException as error:
                self._put(index, (None, error))
            self.stop()
            return None

    def _put(self, index: int, outcome: tuple[Result | None, BaseException | None]) -> None:
        with self._lock:
            self._results[index] = outcome
            if index == self._given:
                self._ready.notify()
