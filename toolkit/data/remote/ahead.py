"""Objects that are read before they are needed: latency is waited for by many threads, memory is bounded in bytes.

Samples are read in the order in which they were begun, so what is needed first has its turn first. A sample that was
never begun is read when it is taken.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from toolkit.data.read import read
from toolkit.data.remote.fetch import read_remote
from toolkit.data.remote.urls import is_remote
from toolkit.data.walk import Sample

READERS: Final = 96
"""Threads, and so connections: 50 ms of latency allow 20 reads a second each."""

AHEAD: Final = 2 * READERS
"""Samples that are begun before those of a batch are needed."""

AHEAD_BYTES: Final = 256 << 20
"""What was read or is being read, and was not taken yet, holds at most so much; a lone larger object excepted."""

UNKNOWN_BYTES: Final = 1 << 20
"""What an object of unknown size counts as before it is read."""


class _Read:
    """One object under way."""

    __slots__ = ("done", "error", "held", "result", "sample")

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.held = sample.size if sample.size >= 0 else UNKNOWN_BYTES
        self.done = threading.Event()
        self.result: tuple[Sample, bytes] | None = None
        self.error: Exception | None = None


class ReadAhead:
    """Reads remote samples in threads that start when the first one is begun, and end in `close`."""

    def __init__(self, readers: int = READERS, most_bytes: int = AHEAD_BYTES) -> None:
        self._n = readers
        self._most_bytes = most_bytes
        self._begun: dict[int, _Read] = {}
        self._todo: deque[_Read] = deque()
        self._held = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._ended = False

    def begin(self, samples: Iterable[object]) -> None:
        """Begin to read those of `samples` that are remote and not begun; each must be taken, or `close` called."""
        with self._lock:
            before = len(self._todo)
            for sample in samples if not self._stop.is_set() else ():
                if isinstance(sample, Sample) and is_remote(sample.path) and id(sample) not in self._begun:
                    one = self._begun[id(sample)] = _Read(sample)
                    self._todo.append(one)
                    if len(self._threads) < min(self._n, len(self._begun)):
                        thread = threading.Thread(target=self._work, name="reader", daemon=True)
                        self._threads.append(thread)
                        thread.start()
            self._changed.notify(len(self._todo) - before)  # and no more: to wake all costs more than to read

    def take(self, sample: Sample) -> tuple[Sample, bytes]:
        """As `toolkit.data.read.read`, waiting where the sample is still being read."""
        with self._lock:
            one = self._begun.get(id(sample))
        if one is None:
            return read(sample)
        one.done.wait()
        with self._lock:
            del self._begun[id(sample)]
            self._held -= one.held
            self._wake_another()
        error, one.error = one.error, None
        if error is not None:
            raise error
        assert one.result is not None
        return one.result

    def batches(self, batches: Iterator[list[Sample]]) -> Iterator[list[Sample]]:
        """`batches`, begun before they are handed out, as far as they hold remote samples."""
        window: deque[list[Sample]] = deque()
        waiting = 0
        for batch in batches:
            if not window and not any(is_remote(sample.path) for sample in batch):
                yield batch
                continue
            self.begin(batch)
            window.append(batch)
            waiting += len(batch)
            while waiting - len(window[0]) >= AHEAD or len(window) > AHEAD:
                waiting -= len(window[0])
                yield window.popleft()
        yield from window

    def close(self) -> None:
        """Begin nothing any more. What is being read is forgotten, and its threads end by themselves."""
        with self._lock:
            self._stop.set()
            for one in self._todo:
                one.error = RuntimeError("closed")
                one.done.set()
            self._todo.clear()
            self._changed.notify_all()

    def end(self) -> None:
        """Begin nothing any more; what was begun can still be taken, and then the threads end."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while (one := self._next()) is not None:
            try:
                one.result = read_remote(one.sample, self._stop)
            except Exception as error:
                one.error = error
            read_bytes = len(one.result[1]) if one.result is not None else 0
            with self._lock:
                self._held += read_bytes - one.held
                one.held = read_bytes
            one.done.set()

    def _next(self) -> _Read | None:
        """The next to read, once there is room for it; None at the end."""
        with self._lock:
            while not self._stop.is_set():
                if self._has_room():
                    one = self._todo.popleft()
                    self._held += one.held
                    self._wake_another()
                    return one
                if self._ended and not self._todo:
                    return None
                self._changed.wait()
            return None

    def _has_room(self) -> bool:
        """Whether the next may be read now."""
        return bool(self._todo) and (not self._held or self._held + self._todo[0].held <= self._most_bytes)

    def _wake_another(self) -> None:
        if self._has_room():
            self._changed.notify()


def loads(samples: Iterable[Sample]) -> Iterator[Callable[[], bytes]]:
    """For each sample a function that gives its bytes, which are read ahead; each is to be called once."""
    reads, window = ReadAhead(), deque[Sample]()
    try:
        for sample in samples:
            reads.begin([sample])
            window.append(sample)
            if len(window) > AHEAD:
                yield partial(_bytes, reads, window.popleft())
        while window:
            yield partial(_bytes, reads, window.popleft())
    finally:
        reads.end()


def _bytes(reads: ReadAhead, sample: Sample) -> bytes:
    return reads.take(sample)[1]
