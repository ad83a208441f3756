"""Daemon threads for blocking user code. Unlike concurrent.futures', they never keep a process from ending,
so a tool that hangs forever costs its node's timeout and nothing more."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_Call = tuple[Future[Any], contextvars.Context, Callable[..., Any], tuple[Any, ...]]


class _Idle:
    """A thread that waits for a call, on a lock of its own: that wakes nobody else.

    (A SimpleQueue is as quick, but a thread may wait in its ``get`` for ever, whatever its timeout: seen with 3.11.)
    """

    def __init__(self) -> None:
        self.call: _Call | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class DaemonPool:
    """``submit(f, *args)`` -> Future. Threads are made on demand, reused, and end when idle for ``idle`` seconds."""

    def __init__(self, max_threads: int | None = None, idle: float = 10.0) -> None:
        self._limit = max_threads
        self._idle_seconds = idle
        self._lock = threading.Lock()
        self._threads = 0
        self._idle: list[_Idle] = []
        self._waiting: deque[_Call] = deque()  # calls for which there is no thread

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` on a thread, in a copy of the caller's context."""
        future: Future[Any] = Future()
        call = (future, contextvars.copy_context(), function, args)
        with self._lock:
            if self._idle:
                idle = self._idle.pop()
                idle.call = call
                idle.wake.release()
                return future
            if self._limit is not None and self._threads >= self._limit:
                self._waiting.append(call)
                return future
            self._threads += 1
        threading.Thread(target=self._work, args=([call],), daemon=True, name="promptflow-tool").start()
        return future

    def _work(self, first: list[_Call]) -> None:
        call: _Call | None = first.pop()  # a thread keeps its arguments to its end
        while call is not None:
            _run(*call)
            call = None  # what it holds is not kept until the next one
            call = self._next()

    def _next(self) -> _Call | None:
        """The next call, or None if none came in time: then the thread counts no more."""
        idle = _Idle()
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(idle)
        if not idle.wake.acquire(timeout=self._idle_seconds):
            with self._lock:
                if idle in self._idle:  # else a call has just come for this one
                    self._idle.remove(idle)
                    self._threads -= 1
        return idle.call


def _run(
    future: Future[Any], context: contextvars.Context, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(context.run(function, *args))
    except BaseException as error:  # SystemExit in a tool ends the tool, not the thread
        future.set_exception(error)
    # An error knows this frame, and the future the error: what the call held would live until garbage is looked for.
    del future, context, function, args


def start_daemon(name: str, target: Callable[[], None]) -> threading.Thread:
    """A thread that carries the caller's context. Daemon: what never ends must not keep the process alive."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name=f"promptflow-{name}", daemon=True)
    thread.start()
    return thread


pool = DaemonPool()
