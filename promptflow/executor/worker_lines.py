"""Lines in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo
from promptflow.executor import guarded
from promptflow.executor.caching import caching
from promptflow.executor.line import Attempt, now
from promptflow.executor.loader import Executor, load_again
from promptflow.executor.origin import Origin
from promptflow.executor.output import line_output
from promptflow.executor.threads import pool
from promptflow.executor.worker import Channel, Service, Setup
from promptflow.llm.pressure import more_time
from promptflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class LinesSetup(Setup):
    """A worker that runs lines of one flow. ``line_timeout``: seconds; ``cache``: the mode of the node cache."""

    origin: Origin
    run_id: str
    line_timeout: float
    cache: str = "off"

    def load(self, stack: ExitStack, channel: Channel) -> Service:
        executor = load_again(self.origin)
        stack.enter_context(executor.activated())
        stack.enter_context(caching(executor, self.cache, Workspace.open(self.origin.home, self.origin.database_url)))
        return (_LinesOnLoop if executor.prefers_async else _Lines)(executor, self, channel)


class _Lines(Service):
    """Runs each line as it comes, on a thread of its own."""

    def __init__(self, executor: Executor, setup: LinesSetup, channel: Channel) -> None:
        self._executor = executor
        self._setup = setup
        self._channel = channel

    def take(self, message: tuple[Any, ...]) -> None:
        _, number, row, known = message
        self._start(number, row, known)

    def _start(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        pool.submit(self._run, number, row, known)

    def _run(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        more_time.set(self._channel.waits(number))
        attempt = _Attempt(self._channel, number, known)
        with line_output() as output:
            result = guarded.run_line(self._executor, number, row, self._setup.run_id, attempt.given)
        self._reply(number, row, result, output.text, attempt)

    def _reply(self, number: int, row: Mapping[str, Any], result: LineResult, printed: str, attempt: _Attempt) -> None:
        out_of_memory = _is_out_of_memory(result.exception)
        try:
            self._channel.send("reply", number, attempt.left(result), printed, out_of_memory)
        except MemoryError as error:
            result = guarded.failed_line(self._executor, row, number, self._setup.run_id, error, now())
            result.exception = None
            self._channel.send("reply", number, result, "", True)


class _LinesOnLoop(_Lines):
    """Runs lines as tasks of one event loop: for flows that wait for models."""

    def __init__(self, executor: Executor, setup: LinesSetup, channel: Channel) -> None:
        super().__init__(executor, setup, channel)
        from promptflow.executor.guarded_async import run_line_async  # flows of plain Python need no event loop
        from promptflow.llm.background import LoopThread

        self._guarded = run_line_async
        self._loop = LoopThread("promptflow-lines")

    def _start(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        self._loop.submit(self._run_async(number, row, known))

    def soon(self, call: Callable[[], None]) -> None:
        self._loop.loop.call_soon_threadsafe(call)

    async def _run_async(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        more_time.set(self._channel.waits(number))
        attempt = _Attempt(self._channel, number, known)
        executor, setup = self._executor, self._setup
        with line_output() as output:
            result = await self._guarded(executor, number, row, setup.run_id, attempt.given, setup.line_timeout)
        self._reply(number, row, result, output.text, attempt)


class _Attempt:
    """Tells the parent of the nodes of one line as they end."""

    def __init__(self, channel: Channel, number: int, known: Mapping[str, RunInfo]) -> None:
        self._channel = channel
        self._number = number
        self._sent = set(known)
        self.given = Attempt(known, self._ended)

    def _ended(self, info: RunInfo) -> None:
        self._channel.send("node", self._number, info, changed="changed node")
        self._sent.add(info.node)

    def left(self, result: LineResult) -> LineResult:
        """The result without what the parent has already, and without the error itself."""
        nodes = {name: info for name, info in result.node_run_infos.items() if name not in self._sent}
        return LineResult(result.output, result.aggregation_inputs, result.run_info, nodes)


def _is_out_of_memory(error: BaseException | None) -> bool:
    for _ in range(16):  # an error may be its own cause
        if error is None or isinstance(error, MemoryError):
            break
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return isinstance(error, MemoryError)
