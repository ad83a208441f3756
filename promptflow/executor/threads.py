"""Daemon threads for blocking user code. Unlike concurrent.futures', they never keep a process from ending,
so a tool that hangs forever costs its node's timeout and nothing more."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class DaemonPool:
    """``submit(f, *args)`` -> Future. Threads are made on demand, reused, and end when idle for ``idle`` seconds."""

    def __init__(self, max_threads: int | None = None, idle: float = 10.0) -> None:
        self._limit = max_threads
        self._idle_seconds = idle
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._condition = threading.Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` on a thread, in a copy of the caller's context."""
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        with self._condition:
            self._queue.append((future, lambda: context.run(function, *args)))
            if self._idle >= len(self._queue):
                self._condition.notify()
            elif self._limit is None or self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True, name="promptflow-tool").start()
        return future

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                while not self._queue:
                    if not self._condition.wait(self._idle_seconds) and not self._queue:
                        self._idle -= 1
                        self._threads -= 1
                        return
                self._idle -= 1
                future, call = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # SystemExit in a tool ends the tool, not the thread
                future.set_exception(error)
            del future, call


def start_daemon(name: str, target: Callable[[], None]) -> threading.Thread:
    """A thread that carries the caller's context. Daemon: what never ends must not keep the process alive."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name=f"promptflow-{name}", daemon=True)
    thread.start()
    return thread


pool = DaemonPool()
