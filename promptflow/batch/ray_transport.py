"""Lines on a Ray cluster: actors on its nodes, each with a worker process that is kept at work.

The results are written here alone. What an actor had when it, its node or the way to it was lost runs again on
another, with the nodes that had ended taken as they were, so that nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from promptflow.batch.processes import setup_of
from promptflow.batch.ray_files import pack
from promptflow.batch.ray_gateway import LOCAL
from promptflow.batch.ray_link import Link, Lost
from promptflow.batch.ray_traces import keep_traces
from promptflow.batch.ray_worker import Event, Task
from promptflow.contracts.run import RunInfo, Status
from promptflow.exceptions import UserErrorException, WorkerDiedError
from promptflow.executor.guarded import failed_line
from promptflow.executor.line import now
from promptflow.executor.threads import start_daemon
from promptflow.llm import background, pressure
from promptflow.tracing.spans import recording
from promptflow.workspace.optional import need

if TYPE_CHECKING:
    from promptflow.batch.engine import Batch

TASKS = 64  # lines at once in all actors together where they wait for models, and at least
TASKS_EACH = 8
AHEAD = 0.1  # seconds of work that waits at an actor, so that it never waits for us
MOST_AHEAD = 500  # lines
LOSSES = 3  # so often a line may be lost with its actor before it is to blame
_LOOK = 0.5  # seconds between looks at seats that are not needed any more
_PATIENCE = 30.0  # seconds without a processor before we say so
_PAUSE = 1.0  # seconds between attempts to start an actor
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Line:
    number: int
    row: Mapping[str, Any]
    known: dict[str, RunInfo]
    start: datetime
    losses: int = 0


def start_ray(batch: Batch) -> Callable[[], float]:
    """Start the actors. There is nothing to watch: the nodes see who is out of time."""
    if find_spec("ray") is None:  # looked for, not imported: it stays out of this process
        need("ray", extra="ray")

    def run() -> None:
        try:
            background.run(_Cluster(batch).run())
        except BaseException as error:  # handed to the calling thread
            batch.fail(error)
        finally:
            batch.ended.set()

    start_daemon("ray", run)
    return lambda: 3600.0


class _Cluster:
    """One batch on a cluster. All of it runs on one event loop."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._setup = setup_of(batch)
        if not recording():
            self._setup = replace(self._setup, environment={**self._setup.environment, "PF_DISABLE_TRACING": "true"})
        self._again: deque[_Line] = deque()
        self._open = 0  # lines that were taken and have no result
        self._no_more = False
        self._started = False  # an actor has loaded the flow
        self._waiting: set[asyncio.Task[None]] = set()  # seats without an actor so far
        self._failures = 0  # actors that were lost before any had

    async def run(self) -> None:
        batch = self._batch
        address, is_ours = address_of(batch.options.compute or "")
        archive = None if is_ours else pack(batch.executor.flow.folder)
        link = Link(address)
        batch.cancel = link.kill
        try:
            cpus = await link.connect(batch.options.workers, archive)
            seats = [asyncio.ensure_future(self._seat(link, share)) for share in self._shares(cpus)]
            await self._all(seats)
        finally:
            await link.close()

    def _shares(self, cpus: int) -> list[int]:
        """For each actor, how many lines it runs at once."""
        actors = self._batch.options.workers or max(1, cpus)
        asked = self._batch.options.concurrency
        if asked is None:
            asked = max(TASKS, TASKS_EACH * actors) if self._batch.executor.prefers_async else actors
        return [share for i in range(actors) if (share := asked // actors + (i < asked % actors))]

    async def _all(self, seats: list[asyncio.Task[None]]) -> None:
        """Wait for them. Once no line is left, those that wait for a processor are not needed any more."""
        running = set(seats)
        patience = time.monotonic() + _PATIENCE
        try:
            while running:
                ended, running = await asyncio.wait(running, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                for seat in ended:
                    seat.result()
                if self._batch.stopping:
                    self._drop()
                if self._no_more and not self._open:
                    for seat in running & self._waiting:
                        running.discard(seat)
                        seat.cancel()
                if not self._started and time.monotonic() > patience:
                    patience += 10 * _PATIENCE
                    _logger.warning("No processor of the cluster is free; waiting.")
        finally:
            for seat in seats:
                seat.cancel()
            await asyncio.gather(*seats, return_exceptions=True)

    # -- an actor -------------------------------------------------------------------------------------------------
    async def _seat(self, link: Link, at_once: int) -> None:
        """Keep an actor at work until no line is left."""
        while (line := self._next()) is not None:
            self._again.appendleft(line)  # others may take it while this one waits for a processor
            mine: dict[int, _Line] = {}
            number = None
            try:
                number = await self._start(link, at_once)
                await self._feed(link, number, at_once, mine)
                self._keep(await link.stop(number))
            except Lost as error:
                await self._lost(mine, error, began=number is not None)

    async def _start(self, link: Link, at_once: int) -> int:
        seat = asyncio.current_task()
        assert seat is not None
        self._waiting.add(seat)
        try:
            number = await link.start(self._task(at_once))
        finally:
            self._waiting.discard(seat)
        self._started = True
        return number

    async def _feed(self, link: Link, number: int, at_once: int, mine: dict[int, _Line]) -> None:
        """Give it lines and take results, until it has none and none is left. ``mine``: the lines that it has."""
        ahead, dropped = 1, False
        while True:
            given = []
            while len(mine) < at_once + ahead and (line := self._next()) is not None:
                mine[line.number] = line
                given.append((line.number, line.row, line.known))
            if not mine:
                return
            drop = self._batch.stopping and not dropped
            dropped = dropped or drop
            had, began = len(mine), time.monotonic()
            events = await link.exchange(number, given, drop)
            for event in events:
                self._take(mine, event)
            rate = (had - len(mine)) / (time.monotonic() - began)
            ahead = max(1, min(MOST_AHEAD, int(rate * AHEAD)))

    def _take(self, mine: dict[int, _Line], event: Event) -> None:
        match event:
            case ("line", number, result, printed):
                line = mine.pop(number)
                result.node_run_infos = {**line.known, **result.node_run_infos}
                self._open -= 1
                self._batch.hand_on(result, line.row, printed)
            case ("node", info):
                if info.status in (Status.Completed, Status.Bypassed):
                    mine[info.index].known[info.node] = info
                self._batch.node_ended(info)
            case ("throttled", seconds, refused):
                pressure.tell(seconds, refused=refused)
            case ("traces", spooled):
                self._keep(spooled)
            case ("dropped", number):
                del mine[number]
                self._open -= 1
            case ("log", name, level, text):
                logging.getLogger(name).log(level, "%s", text)
            case ("failed", error):
                raise error

    def _keep(self, traces: bytes) -> None:
        if traces:
            keep_traces(self._setup.origin, traces)

    async def _lost(self, mine: dict[int, _Line], error: Lost, *, began: bool) -> None:
        """Have its lines run again elsewhere; but one that is lost again and again may be what ends its actors."""
        reason = str(error).strip().partition("\n")[0]
        _logger.warning("An actor is lost, %d lines run again: %s", len(mine), reason)
        if not began:
            self._failures += 1
            if not self._started and self._failures >= LOSSES:
                hint = "pip install promptflow on the nodes" if "No module named 'promptflow" in str(error) else ""
                raise UserErrorException(f"No actor can be started on the Ray cluster: {error}", hint=hint)
            await asyncio.sleep(_PAUSE)
            return
        for line in mine.values():
            line.losses += 1
            if line.losses < LOSSES:
                self._again.append(line)
                continue
            self._open -= 1
            died = WorkerDiedError(f"The actor that ran it was lost, {LOSSES} times: {reason}")
            batch = self._batch
            result = failed_line(batch.executor, line.row, line.number, batch.run_id, died, line.start)
            result.node_run_infos = dict(line.known)
            batch.hand_on(result, line.row, "")

    def _task(self, at_once: int) -> Task:
        executor = self._batch.executor
        flow = executor.flow
        return Task(
            self._setup,
            at_once,
            executor.prefers_async,
            getattr(flow, "id", "default_flow_id"),
            str(flow.folder),
        )

    def _next(self) -> _Line | None:
        """A line to run: one that was lost, else the next of the data."""
        if self._batch.stopping:
            self._drop()
            return None
        if self._again:
            return self._again.popleft()
        found = self._batch.next_line()
        if found is None:
            self._no_more = True
            return None
        self._open += 1
        return _Line(*found, dict(self._batch.known.get(found[0], {})), now())

    def _drop(self) -> None:
        """No line is to begin any more."""
        self._no_more = True
        self._open -= len(self._again)
        self._again.clear()


def address_of(compute: str) -> tuple[str, bool]:
    """What Ray calls the cluster that ``--compute`` names, and whether it is one of our own, on this machine."""
    if compute == "ray":
        return LOCAL, True
    return ("auto" if compute == "ray://auto" else compute), False
