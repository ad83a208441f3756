"""The flow's code, beside the event loop that answers HTTP: synchronous on threads, async on a loop of its own. Only
flows whose async part is the wait for models stay on that loop.

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
from promptflow.contracts.tool import ToolType
from promptflow.executor.flow import DagExecutor
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

    def __init__(self) -> None:
        self.gone = False
        self.cancel: Callable[[], Any] | None = None
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[LineResult] = self._loop.create_future()

    def hang_up(self) -> None:
        """The client is gone: stop what can be stopped, and end the wait."""
        self.gone = True
        if not self.result.done():
            self.result.set_exception(ClientGone())
        if self.cancel is not None:
            self.cancel()

    def run(self, executor: Executor, inputs: dict[str, Any], run_id: str, streaming: bool) -> None:
        """On a thread."""
        try:
            result = executor.run_line(
                inputs, run_id=run_id, streaming=streaming, attempt=Attempt(ended=self._node_ended)
            )
        except BaseException as error:  # SystemExit of a tool ends its request, not the server
            self._loop.call_soon_threadsafe(self._put, error, None)
        else:
            self._loop.call_soon_threadsafe(self._put, None, result)

    def ended(self, done: Any) -> None:
        """Take the result of a task of this loop, or of a future that another thread has ended."""
        if done.cancelled():
            return
        error = done.exception()
        result = None if error is not None else done.result()
        if isinstance(done, asyncio.Task):
            self._put(error, result)
        else:
            self._loop.call_soon_threadsafe(self._put, error, result)

    def _node_ended(self, info: RunInfo) -> None:
        if self.gone:
            raise ClientGone("the client hung up")

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
        self._is_async = executor.prefers_async
        self._here = executor.prefers_async and _awaits_models_only(executor)
        self._flow_loop: LoopThread | None = None
        self._closing: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive
        if isinstance(executor, DagExecutor):
            executor.async_streams = True

    def start(self, inputs: dict[str, Any], run_id: str, streaming: bool) -> Line:
        line = Line()
        if not self._is_async:
            line.cancel = self.threads.submit(line.run, self.executor, inputs, run_id, streaming).cancel
            return line
        coro = self.executor.run_line_async(inputs, run_id=run_id, streaming=streaming)
        if self._here:
            task = asyncio.create_task(coro)
            line.cancel = task.cancel
            task.add_done_callback(line.ended)
        else:
            future = self._loop().submit(coro)
            line.cancel = future.cancel_task  # type: ignore[attr-defined]
            future.add_done_callback(line.ended)
        return line

    async def items(self, source: Iterator[Any] | AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The items of a stream of the flow, made where the flow's code runs. Leaving it early closes the stream."""
        step: Callable[[], Awaitable[Any]]
        if isinstance(source, AsyncIterator) and self._here:
            step = lambda: anext(source, _END)  # noqa: E731
        elif isinstance(source, AsyncIterator):
            loop = self._loop()
            step = lambda: loop.call(_next_async(source))  # noqa: E731
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
            if not hasattr(source, "aclose"):
                return
            if self._here:
                task = asyncio.create_task(_close_async(source))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            else:
                self._loop().submit(_close_async(source))
        elif hasattr(source, "close"):
            self.threads.submit(source.close)

    def end(self) -> None:
        if self._flow_loop is not None:
            self._flow_loop.close()

    def _loop(self) -> LoopThread:
        # Not only of flows that are async as a whole: a plain function may well return an async generator.
        if self._flow_loop is None:
            self._flow_loop = LoopThread("promptflow-flow")
        return self._flow_loop


def _awaits_models_only(executor: Executor) -> bool:
    """Whether all that runs on an event loop is our own way to a model, which blocks nobody: then it may run on the
    loop of the server, which saves two changes of threads."""
    if isinstance(executor, DagExecutor):
        return all(step.node.type is ToolType.LLM for step in executor.steps if step.is_async)
    return bool(executor.flow.kind == "prompty")


async def _next_async(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)


async def _close_async(source: Any) -> None:
    await source.aclose()
