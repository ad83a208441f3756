"""Event loops of our own on daemon threads, so that plain code can call the async core from anywhere.

A thread that belongs to one of the loops gets the next loop, so that a sync call made inside async code waits for
another thread and never for itself.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """One event loop on a daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coro`` on the loop, in a copy of the caller's context. Cancelling the future cancels the task."""
        result: concurrent.futures.Future[T] = concurrent.futures.Future()
        context = contextvars.copy_context()

        def start() -> None:
            if not result.set_running_or_notify_cancel():
                coro.close()
                return
            task = self.loop.create_task(coro, context=context)
            tasks[0] = task
            task.add_done_callback(lambda done: _settle(done, result))

        tasks: list[asyncio.Task[T] | None] = [None]
        result.cancel_task = lambda: self._cancel(tasks)  # type: ignore[attr-defined]
        self.loop.call_soon_threadsafe(start)
        return result

    def _cancel(self, tasks: list[asyncio.Task[Any] | None]) -> None:
        def cancel() -> None:
            if tasks[0] is not None:
                tasks[0].cancel()

        self.loop.call_soon_threadsafe(cancel)

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        future = self.submit(coro)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel_task()  # type: ignore[attr-defined]
            raise

    async def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Await ``coro`` from another loop."""
        future = self.submit(coro)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.cancel_task()  # type: ignore[attr-defined]
            raise

    def close(self, timeout: float = 2.0) -> None:
        """End what still runs (connection pools close with their async generators), then the loop."""
        try:
            self.submit(_wind_up()).result(timeout)
        except (concurrent.futures.TimeoutError, RuntimeError):
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout)
        if not self.thread.is_alive():
            self.loop.close()


async def _wind_up() -> None:
    loop = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()


def _settle(task: asyncio.Task[T], result: concurrent.futures.Future[T]) -> None:
    if task.cancelled():
        result.set_exception(concurrent.futures.CancelledError())
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


_lock = threading.Lock()
_loops: list[LoopThread] = []
_streams: list[LoopThread] = []


def _loop(level: int) -> LoopThread:
    with _lock:
        while len(_loops) <= level:
            _loops.append(LoopThread(f"promptflow-loop-{len(_loops)}"))
        return _loops[level]


def stream_loop() -> LoopThread:
    """The loop that reads streamed answers. No user code runs on it, so any thread may wait for it."""
    with _lock:
        if not _streams:
            _streams.append(LoopThread("promptflow-streams"))
        return _streams[0]


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Run ``coro`` to its end on a background loop and return its result; callable from any thread."""
    here = threading.current_thread()
    level = next((i + 1 for i, loop in enumerate(_loops) if loop.thread is here), 0)
    return _loop(level).run(coro)


def iterate(items: AsyncIterator[T]) -> Iterator[T]:
    """The items of an async iterator, one by one, in plain code."""
    while True:
        try:
            item = run(_next(items))
        except StopAsyncIteration:
            return
        yield item


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


@atexit.register
def _close_all() -> None:
    for loop in (*_loops, *_streams):
        loop.close()


def _forget_threads() -> None:
    """A forked child has none of its parent's threads: start anew there."""
    global _lock
    _lock = threading.Lock()
    _loops.clear()
    _streams.clear()


os.register_at_fork(after_in_child=_forget_threads)
