"""Lines in worker processes: for tools that need a processor each, or that may crash, hang or eat all memory.

A line fails for what happened to its process only if it was alone in a fresh one. What else was in flight in a process
that died, or that was out of memory, runs again in a process of its own, with the nodes that had ended taken as they
were.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import RunInfo, Status
from promptflow.exceptions import UserErrorException, WorkerDiedError
from promptflow.executor.guarded import failed_line, line_timeout
from promptflow.executor.guarded_async import extend
from promptflow.executor.line import now
from promptflow.executor.threads import start_daemon
from promptflow.executor.worker_lines import LinesSetup
from promptflow.executor.worker_process import WorkerProcess
from promptflow.llm import background
from promptflow.tape.current import current
from promptflow.tracing.spans import context_attributes

if TYPE_CHECKING:
    from promptflow.batch.engine import Batch

START, MOST = 32, 256  # lines at once in all workers where they wait for models and nobody has said how many
_KILLS = 3  # processes of a line alone that are killed from outside before the line is to blame
_STARTS = 10  # the same of processes that load the flow
_GRACE = 1.0  # seconds past its time in which an async line may end by itself


@dataclass
class Line:
    """A line; ``known`` are nodes that need not run again, ``nodes`` the records of all that ended, in order."""

    number: int
    row: Mapping[str, Any]
    known: dict[str, RunInfo]
    nodes: dict[str, RunInfo] = field(init=False)
    start: datetime = field(default_factory=now)
    deaths: int = 0  # of fresh processes that it was alone in

    def __post_init__(self) -> None:
        self.nodes = dict(self.known)


def start_processes(batch: Batch) -> Callable[[], float]:
    """Start the workers. There is nothing to watch: their loop sees who is out of time."""

    def run() -> None:
        try:
            background.run(Pool(batch).run())
        except BaseException as error:  # handed to the calling thread
            batch.fail(error)
        finally:
            batch.ended.set()

    start_daemon("workers", run)
    return lambda: 3600.0


class Pool:
    """The workers of one batch. All of it runs on one event loop."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._setup = setup_of(batch)
        self._workers: set[WorkerProcess] = set()
        self._suspects: deque[Line] = deque()
        self._quarantine: asyncio.Task[None] | None = None
        batch.cancel = self._kill_all

    async def run(self) -> None:
        count = max(1, self._batch.options.workers)
        if self._batch.executor.prefers_async:
            self._batch.adapt(START, MOST)
        seats = [asyncio.ensure_future(self._seat(i, count)) for i in range(count)]
        try:
            for seat in asyncio.as_completed(seats):
                try:
                    await seat
                except Exception as error:
                    self._batch.fail(error)
            if self._quarantine is not None:
                await self._quarantine
        finally:
            self._kill_all()

    def _at_once_in(self, index: int, count: int) -> int:
        """How many lines this worker is to run at once, now."""
        batch = self._batch
        if batch.adaptive is None and batch.options.concurrency is None:
            return 1  # plain Python: a processor each
        share = batch.at_once // count + (index < batch.at_once % count)
        return share if batch.adaptive is None else max(1, share)

    async def _seat(self, index: int, count: int) -> None:
        """Keep a worker at work until no line is left."""
        while self._at_once_in(index, count) and (line := self._next()) is not None:
            worker = await self._started()
            try:
                await self._feed(worker, line, lambda: self._at_once_in(index, count))
            finally:
                await self._end(worker)

    async def _feed(self, worker: WorkerProcess, first: Line, share: Callable[[], int]) -> None:
        """Have it run lines, its share at once, as long as it can and there are any."""
        pulls: set[asyncio.Task[None]] = set()
        running = 0

        def start(line: Line) -> None:
            nonlocal running
            running += 1
            pulls.add(asyncio.ensure_future(pull(line)))

        def grow() -> None:
            while worker.usable and running < share() and (line := self._next()) is not None:
                start(line)

        async def pull(line: Line | None) -> None:
            nonlocal running
            try:
                while line is not None:
                    await self._run(worker, line)
                    line = self._next() if worker.usable and running <= share() else None
                    grow()
            finally:
                running -= 1

        start(first)
        grow()
        try:
            while pulls:
                ended, _ = await asyncio.wait(pulls, return_when=asyncio.FIRST_COMPLETED)
                pulls -= ended
                for task in ended:
                    task.result()
        finally:
            if pulls:
                worker.kill()
                await asyncio.gather(*pulls, return_exceptions=True)

    def _next(self) -> Line | None:
        found = None if self._batch.exhausted else self._batch.next_line()
        return None if found is None else Line(*found, dict(self._batch.known.get(found[0], {})))

    # -- one line -------------------------------------------------------------------------------------------------
    async def _run(self, worker: WorkerProcess, line: Line, *, alone: bool = False) -> None:
        """Run a line to its result, or hand it to quarantine where others may be to blame."""
        line.start = now()
        blamed = alone and worker.asked == 0
        seconds = self._batch.options.line_timeout
        try:
            async with asyncio.timeout(seconds + (_GRACE if self._batch.executor.prefers_async else 0)) as limit:
                result, printed, out_of_memory = await worker.ask(
                    "line",
                    line.number,
                    line.row,
                    line.known,
                    on_node=lambda *told: self._node_ended(line, *told),
                    on_wait=lambda more: extend(limit, more),
                )
        except TimeoutError:
            worker.usable = False
            if alone or await worker.responds():
                self._failed(line, line_timeout(line.number, seconds))
            else:  # it holds the whole process up, and others with it
                worker.kill()
                self._suspect(line, alone)
        except WorkerDiedError as error:
            line.deaths += blamed
            if line.deaths >= (_KILLS if error.killed else 1):
                what = f"The process that ran line {line.number} alone"
                self._failed(line, WorkerDiedError(error.cause, what=what, hint=error.hint))
            else:
                self._suspect(line, alone)
        else:
            worker.usable = worker.usable and not out_of_memory
            if out_of_memory and not blamed:  # others may have taken the memory
                self._suspect(line, alone)
            else:
                result.node_run_infos = {**line.nodes, **result.node_run_infos}
                self._batch.hand_on(result, line.row, printed)

    def _node_ended(self, line: Line, info: RunInfo, as_it_was: bool) -> None:
        line.nodes[info.node] = info
        if as_it_was:  # else it must run again, if the line must
            if info.status in (Status.Completed, Status.Bypassed):
                line.known[info.node] = info
            self._batch.node_ended(info)

    def _failed(self, line: Line, error: UserErrorException) -> None:
        batch = self._batch
        result = failed_line(batch.executor, line.row, line.number, batch.run_id, error, line.start)
        result.node_run_infos = line.nodes
        batch.hand_on(result, line.row, "")

    # -- lines that were in flight when their process died --------------------------------------------------------
    def _suspect(self, line: Line, first: bool) -> None:
        if first:
            self._suspects.appendleft(line)
        else:
            self._suspects.append(line)
        if self._quarantine is None or self._quarantine.done():
            self._quarantine = asyncio.ensure_future(self._run_suspects())

    async def _run_suspects(self) -> None:
        """Run them one at a time. One that ends its process fails if that was fresh, and else gets a fresh one."""
        worker: WorkerProcess | None = None
        try:
            while self._suspects and not self._batch.given_up:
                line = self._suspects.popleft()
                if worker is None or not worker.usable:
                    worker = await self._renewed(worker)
                _logger.info("Line %d runs again, in a process of its own.", line.number)
                await self._run(worker, line, alone=True)
        except Exception as error:
            self._batch.fail(error)
        finally:
            if worker is not None:
                await self._end(worker)

    # -- processes ------------------------------------------------------------------------------------------------
    async def _renewed(self, worker: WorkerProcess | None) -> WorkerProcess:
        if worker is not None:
            await self._end(worker)
        return await self._started()

    async def _started(self) -> WorkerProcess:
        for attempt in range(_STARTS):
            worker = WorkerProcess(self._setup)
            self._workers.add(worker)
            try:
                await worker.ready()
                break
            except WorkerDiedError as error:
                await self._end(worker)
                if self._batch.given_up or not error.killed or attempt == _STARTS - 1:
                    raise
        return worker

    async def _end(self, worker: WorkerProcess) -> None:
        await worker.end()
        self._workers.discard(worker)

    def _kill_all(self) -> None:
        for worker in list(self._workers):
            worker.kill()


def setup_of(batch: Batch) -> LinesSetup:
    origin = batch.executor.origin
    if origin is None:
        raise UserErrorException(
            "Worker processes cannot load a function of the main script, of a notebook or inside another one.",
            hint="put it into a module of its own, or run without workers",
        )
    tape = current()
    return LinesSetup(
        path=tuple(sys.path),
        environment=dict(os.environ),
        memory_limit=batch.options.memory_limit,
        context=dict(context_attributes()),
        log_level=logging.getLogger("promptflow").getEffectiveLevel(),
        tape=None if tape is None else tape.handover(),
        origin=origin,
        run_id=batch.run_id,
        line_timeout=batch.options.line_timeout,
        cache=batch.options.cache,
    )


_logger = logging.getLogger(__name__)
