"""Workers of `infer` that are actors of Ray, on this machine or on a cluster.

Actors of Ray's core, and not Ray Data: batches keep their fixed places and their order with a window of a few batches,
a batch that was lost is given to another worker at once, and an image that kills its worker is found and becomes a row.
Ray starts lost actors again; what they were doing is done by others meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import MachineError, missing_extra
from toolkit.core.machine import usable_cpus
from toolkit.core.progress import Progress
from toolkit.core.text import first_line
from toolkit.data.remote.urls import is_remote
from toolkit.data.walk import Sample
from toolkit.images.limits import Limits
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.labeller import Labeller, Prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import RowWorkers, make_labeller, open_model
from toolkit.inference.result_table import Layout, ResultRow
from toolkit.sessions.resolve import resolve_model

DEATHS: Final = 3
"""So many workers may die of one batch, with nothing else to do, before its images are tried one by one."""

DEPTH: Final = 2
"""Batches that an actor has: one that it labels, and the next."""

PATIENCE_S: Final = 60.0
"""After so long without any worker a warning is given."""


@contextmanager
def ray_row_workers(
    table: Layout, model: Path, fingerprint: str, options: InferOptions, progress: Progress
) -> Iterator[RowWorkers]:
    """Workers on Ray: batches in, the rows of each out, in order.

    Args:
        table: the columns.
        model: every node must see it at this place.
        fingerprint: of the model that the driver has opened; a worker with another one is refused.
        options: `ray_address` names the cluster; without one Ray is started here for the time of the run.
        progress: hears of workers that were lost.

    Raises:
        MachineError: Ray is not installed or does not start, or a node has another model.
        ModelError: a worker cannot open the model.
    """
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError:
        raise missing_extra("ray", "ray", "--engine ray") from None
    with ExitStack() as opened:
        if not ray.is_initialized():
            _start(ray, options)
            opened.callback(ray.shutdown)
        gpus = options.device.startswith("cuda")
        there = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
        n = options.workers or max(1, there)
        setting = _Setting(
            model=resolve_model(model).absolute(),
            options=replace(options, device="cuda" if gpus else "cpu", workers=1),
            table=table,
            n=n,
        )
        pool = _Pool(ray, setting, fingerprint, gpus=gpus, progress=progress)
        opened.callback(pool.close)
        pool.check()
        yield pool.map


def _start(ray: Any, options: InferOptions) -> None:
    """Connect to the cluster, or start Ray here; our handlers of signals stay."""
    address = options.ray_address or os.environ.get("RAY_ADDRESS")
    here = {} if address else {"num_cpus": options.workers or usable_cpus(), "include_dashboard": False}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=options.engine_messages,
            logging_level=logging.INFO if options.engine_messages else logging.ERROR,
            **here,
        )
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        where = f"at {address} " if address else ""
        raise MachineError(
            f"Ray {where}does not answer ({first_line(error, 200)})",
            hint="check --ray-address, or start one: ray start --head" if address else "--verbose shows Ray's messages",
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What every worker is told."""

    model: Path
    options: InferOptions
    table: Layout
    n: int


class _Worker:
    """An actor: one session, opened when it is first needed, here and after a restart."""

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting
        self._labeller: Labeller | None = None

    def rows(self, samples: list[Sample]) -> list[ResultRow]:
        return self._setting.table.rows(self._open()(samples))

    def fingerprint(self) -> str:
        self._open()
        return self._fingerprint

    def _open(self) -> Labeller:
        if self._labeller is None:
            one_opencv_thread().__enter__()
            setting = self._setting
            session = open_model(setting.model, setting.options)
            labeller = make_labeller(session, setting.options)
            labeller.limits = Limits.of(setting.options.max_pixels, setting.options.max_memory, processes=setting.n)
            self._fingerprint, self._labeller = session.fingerprint, labeller
        return self._labeller


def _absolute(sample: Sample) -> Sample:
    return sample if is_remote(sample.path) else sample._replace(path=os.path.abspath(sample.path))


@dataclass(eq=False)
class _Batch:
    """A batch under way.

    Attributes:
        deaths: workers that died while they had nothing else to do.
        alone: a worker died while it had it; from now on it is a worker's only one.
        of: the batch of which this is one image, where that batch killed workers.
        singles: the images of such a batch.
        rows: the answers.
    """

    samples: list[Sample]
    deaths: int = 0
    alone: bool = False
    of: _Batch | None = None
    singles: list[_Batch] = field(default_factory=list)
    rows: list[ResultRow] | None = None


@dataclass(eq=False)
class _Actor:
    """A worker as the driver sees it; `up` is False from its death until it answers again."""

    handle: Any
    work: int = 0
    up: bool = False
    closed: bool = False


class _Pool:
    def __init__(self, ray: Any, setting: _Setting, fingerprint: str, *, gpus: bool, progress: Progress) -> None:
        class Worker(_Worker):
            @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
            def fingerprint(self) -> str:
                return super().fingerprint()

        self._ray, self._setting, self._wanted, self._progress = ray, setting, fingerprint, progress
        kind = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=0)(Worker)
        self._actors = [_Actor(kind.remote(setting)) for _ in range(setting.n)]
        self._asked: dict[Any, _Actor] = {}
        self._under_way: dict[Any, tuple[_Actor, _Batch]] = {}
        self._todo: deque[_Batch] = deque()

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)

    def check(self) -> None:
        """Wait for a worker, and see whether it has the driver's model."""
        for actor in self._actors:
            self._ask(actor)
        while not any(actor.up for actor in self._actors):
            self._step()

    def map(self, items: Iterator[list[Sample]]) -> Iterator[list[ResultRow]]:
        """The rows of each batch, in order; at most four batches a worker are under way or wait to be taken."""
        window: deque[_Batch] = deque()
        items = iter(items)
        more = True
        while more or window:
            while more and len(window) < 4 * len(self._actors):
                samples = next(items, None)
                if samples is None:
                    more = False
                else:
                    window.append(batch := _Batch([_absolute(sample) for sample in samples]))
                    if samples:
                        self._todo.append(batch)
                    else:
                        batch.rows = []
            self._give()
            while window and window[0].rows is not None:
                yield window.popleft().rows or []
            if window and window[0].rows is None and (self._under_way or self._asked):
                self._step()

    def _give(self) -> None:
        """Give what is to do to the workers that have the least."""
        waiting: deque[_Batch] = deque()
        while self._todo:
            batch = self._todo.popleft()
            room = [a for a in self._actors if a.up and not a.closed and a.work < (1 if batch.alone else DEPTH)]
            if not room:
                waiting.append(batch)
                if not batch.alone:
                    break
                continue
            actor = min(room, key=lambda one: one.work)
            actor.work += 1
            actor.closed = batch.alone
            self._under_way[actor.handle.rows.remote(batch.samples)] = actor, batch
        self._todo.extendleft(reversed(waiting))

    def _step(self) -> None:
        """Wait for something to happen, and take note of it."""
        refs = [*self._under_way, *self._asked]
        done, _ = self._ray.wait(refs, num_returns=1, timeout=PATIENCE_S)
        if not done:
            if not any(actor.up for actor in self._actors):
                self._progress.warn("no worker of Ray is running; waiting for the cluster to start one")
            return
        if (asked := self._asked.pop(done[0], None)) is not None:
            self._answered(asked, done[0])
            return
        actor, batch = self._under_way.pop(done[0])
        actor.work -= 1
        if batch.alone:
            actor.closed = False
        try:
            self._finished(batch, self._ray.get(done[0]))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError:
            self._lost(actor, batch)

    def _ask(self, actor: _Actor) -> None:
        actor.up = False
        self._asked[actor.handle.fingerprint.remote()] = actor

    def _answered(self, actor: _Actor, ref: Any) -> None:
        try:
            found = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError:
            self._ask(actor)
            return
        if found != self._wanted:
            raise MachineError(
                f"{self._setting.model}: a node has another file there", hint="put the same model on every node"
            )
        actor.up = True

    def _lost(self, actor: _Actor, batch: _Batch) -> None:
        """A worker died, or its answer is gone with its node: what it had is done again by another."""
        if actor.up:
            self._progress.warn("a worker of Ray was lost; its batches are done again")
            self._ask(actor)
        batch.deaths += batch.alone
        batch.alone = True
        if batch.deaths < DEATHS:
            self._todo.appendleft(batch)
        elif len(batch.samples) == 1:
            self._finished(batch, self._killed(batch.samples))
        else:
            batch.singles = [_Batch([sample], alone=True, of=batch) for sample in batch.samples]
            self._todo.extendleft(reversed(batch.singles))

    def _killed(self, samples: list[Sample]) -> list[ResultRow]:
        reason = f"a worker process died of this image {DEATHS} times"
        return self._setting.table.rows([Prediction(sample, None, reason) for sample in samples])

    def _finished(self, batch: _Batch, rows: list[ResultRow]) -> None:
        batch.rows = rows
        whole = batch.of
        if whole is not None and all(single.rows is not None for single in whole.singles):
            whole.rows = [row for single in whole.singles for row in single.rows or []]
