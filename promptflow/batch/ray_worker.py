"""The part of a Ray batch that runs on the nodes: an actor that keeps one worker process at work.

Lines come ahead of time and wait here, so that the process never waits for the network; what ended goes back
together. The flow's code runs in the worker process alone, so that a line that kills it leaves the actor alive.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from promptflow._version import __version__
from promptflow.batch.options import RunOptions
from promptflow.batch.processes import Line, Pool
from promptflow.batch.ray_files import FLOW, HOME, moved, unpack
from promptflow.batch.ray_traces import take_traces
from promptflow.contracts.run import LineResult, RunInfo
from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.executor.worker_lines import LinesSetup
from promptflow.executor.worker_process import WorkerProcess
from promptflow.llm.pressure import watching

POLL = 0.5  # seconds after which an exchange comes back with nothing
LINGER = 0.01  # seconds in which more results may join the first
CHUNK = 100  # results that are not held back for more
TRACES = 2.0  # seconds between looks at the spool
STOP = 5.0  # seconds in which a process without lines ends

Event = tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """What an actor is told first. ``at_once``: lines that its process runs; ``folder``: the flow's, where the batch
    was started."""

    setup: LinesSetup
    at_once: int
    prefers_async: bool
    flow_id: str
    folder: str
    version: str = __version__


class NodeWorker:
    """The actor. What it is given and returns are bytes, so that what lies between needs no class of ours."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._share = _Share()
        self._pool: _NodePool | None = None
        self._running: asyncio.Task[None] | None = None
        self._look = time.monotonic() + TRACES

    async def start(self, task: bytes, archive: bytes | None) -> bytes:
        """Start the worker process and load the flow, from the archive if there is one. Returns what kept it from
        that, or None."""
        try:
            await self._start(pickle.loads(task), archive)
        except Exception as error:
            self._clean()
            return pickle.dumps(_sendable(error))
        return pickle.dumps(None)

    async def exchange(self, lines: bytes, drop: bool) -> bytes:
        """Take more lines, ``(number, row, known nodes)`` each. Returns what happened, once something did.

        Events: ``("line", number, result, printed)``, ``("node", info)``, ``("log", name, level, text)``,
        ``("throttled", seconds, refused)``, ``("traces", spooled)``, ``("dropped", number)``, ``("failed", error)``.
        ``drop`` gives back the lines that have not begun.
        """
        share = self._share
        for number, row, known in pickle.loads(lines):
            share.take(Line(number, row, known))
        if drop:
            share.drop()
        await share.something()
        if self._root is not None and time.monotonic() > self._look:
            self._look = time.monotonic() + TRACES
            if traces := take_traces(self._root / HOME):
                share.tell("traces", traces)
        return pickle.dumps(share.collect(), protocol=5)

    async def stop(self) -> bytes:
        """End the worker process and remove what was unpacked. Returns the traces that are left."""
        share = self._share
        share.end()
        if self._pool is not None and self._running is not None:
            if share.busy:  # what they would say is not wanted any more
                self._pool.kill()
            await asyncio.wait({self._running}, timeout=STOP)
            self._pool.kill()
        traces = b"" if self._root is None else take_traces(self._root / HOME)
        self._clean()
        return traces

    def _clean(self) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    async def _start(self, task: Task, archive: bytes | None) -> None:
        if task.version != __version__:
            raise UserErrorException(
                f"The node {os.uname().nodename} has promptflow {__version__}, not {task.version} as here.",
                hint=f"pip install promptflow=={task.version} on the nodes",
            )
        setup = task.setup
        if archive is not None:
            self._root = Path(tempfile.mkdtemp(prefix="pf_flow_"))
            unpack(archive, self._root / FLOW)
            setup = moved(setup, Path(task.folder), self._root)
        ours = logging.getLogger("promptflow")
        ours.addHandler(_LogEvents(self._share))
        ours.setLevel(setup.log_level)
        self._pool = pool = _NodePool(self._share, task, setup)
        ready = asyncio.ensure_future(pool.ready.wait())
        self._running = asyncio.ensure_future(pool.run())
        await asyncio.wait({self._running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            ready.cancel()
            self._running.result()


class _Share:
    """The lines of the batch that this node has, and what happened to them since it was asked last."""

    def __init__(self) -> None:
        self.waiting: deque[Line] = deque()
        self.ended = False
        self._events: list[Event] = []
        self._sent: dict[int, set[str]] = {}  # nodes of lines in flight that are known where the batch was started
        self._more = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether lines are here that have no result."""
        return bool(self._sent)

    # -- for the other side ---------------------------------------------------------------------------------------
    def take(self, line: Line) -> None:
        self.waiting.append(line)
        self._sent[line.number] = set(line.known)
        self._more.set()

    def drop(self) -> None:
        while self.waiting:
            number = self.waiting.popleft().number
            del self._sent[number]
            self.tell("dropped", number)

    async def something(self) -> None:
        """Wait until there is something to say, and a little longer, since more of it may follow."""
        try:
            async with asyncio.timeout(POLL):
                await self._news.wait()
        except TimeoutError:
            return
        if len(self._events) < CHUNK:
            await asyncio.sleep(LINGER)

    def collect(self) -> list[Event]:
        events, self._events = self._events, []
        self._news.clear()
        return events

    def end(self) -> None:
        self.ended = True
        self._more.set()

    # -- for the pool ---------------------------------------------------------------------------------------------
    async def next(self, worker: WorkerProcess) -> Line | None:
        """The next line for this worker; None once it cannot run any, or nothing is to be run any more."""
        while worker.usable and not self.ended:
            if self.waiting:
                return self.waiting.popleft()
            self._more.clear()
            await self._more.wait()
        return None

    def wake(self) -> None:
        self._more.set()

    def tell(self, *event: Any) -> None:
        self._events.append(event)
        self._news.set()

    def node_ended(self, info: RunInfo) -> None:
        self._sent[info.index or 0].add(info.node)
        self.tell("node", info)

    def hand_on(self, result: LineResult, row: Mapping[str, Any], printed: str) -> None:
        number = result.run_info.index or 0
        sent = self._sent.pop(number)
        result.node_run_infos = {k: v for k, v in result.node_run_infos.items() if k not in sent}
        result.exception = None
        self.tell("line", number, result, printed)


class _NodePool(Pool):
    """One worker process at work on a share, and others for the lines that ended it."""

    def __init__(self, share: _Share, task: Task, setup: LinesSetup) -> None:
        self._share = share
        self._at_once = task.at_once
        self.ready = asyncio.Event()
        executor = SimpleNamespace(
            prefers_async=task.prefers_async, origin=setup.origin, flow=SimpleNamespace(id=task.flow_id)
        )
        batch: Any = SimpleNamespace(
            executor=executor,
            run_id=setup.run_id,
            options=RunOptions(line_timeout=setup.line_timeout, memory_limit=setup.memory_limit),
            given_up=False,
            hand_on=share.hand_on,
            node_ended=share.node_ended,
            fail=lambda error: share.tell("failed", _sendable(error)),
        )
        super().__init__(batch)
        self._setup = setup

    async def run(self) -> None:
        try:
            with watching(lambda *told: self._share.tell("throttled", *told)):
                await self._run_share()
        except Exception as error:
            if not self.ready.is_set():
                raise
            self._batch.fail(error)
        finally:
            self._kill_all()

    async def _run_share(self) -> None:
        while not self._share.ended:
            worker = await self._started()
            self.ready.set()
            try:
                await asyncio.gather(*(self._work(worker) for _ in range(self._at_once)))
            finally:
                await self._end(worker)

    def kill(self) -> None:
        """End its processes, whatever they are at."""
        self._kill_all()

    async def _work(self, worker: WorkerProcess) -> None:
        while (line := await self._share.next(worker)) is not None:
            await self._run(worker, line)
            if not worker.usable:
                self._share.wake()  # others that wait for a line in vain


class _LogEvents(logging.Handler):
    """What our loggers say here is said where the batch was started."""

    def __init__(self, share: _Share) -> None:
        super().__init__()
        self._share = share

    def emit(self, record: logging.LogRecord) -> None:
        self._share.tell("log", record.name, record.levelno, record.getMessage())


def _sendable(error: BaseException) -> PromptflowException:
    if isinstance(error, PromptflowException):
        return error
    return UserErrorException(f"A node of the cluster failed: ({type(error).__name__}) {error}", error=error)
