"""The flow's code, beside the event loop that answers HTTP: synchronous on threads, async on a loop of its own.

So code that blocks, in whichever way, keeps no health check waiting. What a client that hung up has asked for ends:
async code is cancelled, a generator is closed, and a chain of synchronous nodes ends before its next node.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo
from promptflow.executor.line import Attempt
from promptflow.executor.loader import Executor
from promptflow.executor.threads import DaemonPool
from promptflow.llm.background import LoopThread

THREADS = "PROMPTFLOW_WORKER_THREADS"
_END = object()


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Line:
    """One line of the flow that is being run for a request; ``await line.result`` gives it."""

    def __init__(self, worker: Worker, inputs: dict[str, Any], run_id: str, streaming: bool) -> None:
        self.gone = False
        self._loop = asyncio.get_running_loop()
        self._cancel: Callable[[], Any] | None = None
        self.result: asyncio.Future[LineResult] = self._loop.create_future()
        if worker.flow_loop is not None:
            future = worker.flow_loop.submit(worker.executor.run_line_async(inputs, run_id=run_id, streaming=streaming))
            self._cancel = future.cancel_task  # type: ignore[attr-defined]
            future.add_done_callback(lambda done: self._settle(done.exception(), done))
        else:
            self._cancel = worker.threads.submit(self._run, worker.executor, inputs, run_id, streaming).cancel

    def hang_up(self) -> None:
        """The client is gone: stop what can be stopped, and end the wait."""
        self.gone = True
        if self._cancel is not None:
            self._cancel()
        if not self.result.done():
            self.result.set_exception(ClientGone())

    def _run(self, executor: Executor, inputs: dict[str, Any], run_id: str, streaming: bool) -> None:
        attempt = Attempt(ended=self._node_ended)
        try:
            result = executor.run_line(inputs, run_id=run_id, streaming=streaming, attempt=attempt)
        except BaseException as error:  # SystemExit of a tool ends its request, not the server
            self._loop.call_soon_threadsafe(self._put, error, None)
        else:
            self._loop.call_soon_threadsafe(self._put, None, result)

    def _node_ended(self, info: RunInfo) -> None:
        if self.gone:
            raise ClientGone("the client hung up")

    def _settle(self, error: BaseException | None, done: Any) -> None:
        self._loop.call_soon_threadsafe(self._put, error, None if error else done.result())

    def _put(self, error: BaseException | None, result: LineResult | None) -> None:
        if self.result.done():
            return
        if error is not None:
            self.result.set_exception(error)
        else:
            assert result is not None
            self.result.set_result(result)


class Worker:
    """Runs the lines of one flow, and reads its streams."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        limit = os.environ.get(THREADS, "").strip()
        self.threads = DaemonPool(max_threads=int(limit) if limit.isdigit() and int(limit) else None)
        self.flow_loop = LoopThread("promptflow-flow") if executor.prefers_async else None

    def start(self, inputs: dict[str, Any], run_id: str, streaming: bool) -> Line:
        return Line(self, inputs, run_id, streaming)

    async def items(self, source: Iterator[Any] | AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The items of a stream of the flow, made where the flow's code runs. Leaving it early closes the stream."""
        if isinstance(source, AsyncIterator):
            loop = self._loop()
            step: Callable[[], Awaitable[Any]] = lambda: loop.call(_next_async(source))  # noqa: E731
        else:
            # one context for all items: a generator may set variables that it reads later
            context = contextvars.copy_context()
            step = lambda: asyncio.wrap_future(self.threads.submit(context.run, next, source, _END))  # noqa: E731
        try:
            while (item := await step()) is not _END:
                yield item
        finally:
            self.close(source)

    def close(self, source: Iterator[Any] | AsyncIterator[Any]) -> None:
        """End a stream that is not read further, without waiting for it."""
        if isinstance(source, AsyncIterator):
            if hasattr(source, "aclose"):
                self._loop().submit(_close_async(source))
        elif hasattr(source, "close"):
            self.threads.submit(source.close)

    def end(self) -> None:
        if self.flow_loop is not None:
            self.flow_loop.close()

    def _loop(self) -> LoopThread:
        # a plain function may well return an async generator
        if self.flow_loop is None:
            self.flow_loop = LoopThread("promptflow-flow")
        return self.flow_loop


async def _next_async(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)


async def _close_async(source: Any) -> None:
    await source.aclose()
