"""Daemon threads for blocking user code. Unlike concurrent.futures', they never keep a process from ending,
so a tool that hangs forever costs its node's timeout and nothing more."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class DaemonPool:
    """``submit(f, *args)`` -> Future. Threads are made on demand, reused, and end when idle for ``idle`` seconds."""

    def __init__(self, max_threads: int | None = None, idle: float = 10.0) -> None:
        self._limit = max_threads
        self._idle_seconds = idle
        self._queue: queue.SimpleQueue[tuple[Future[Any], contextvars.Context, Callable[..., Any], tuple[Any, ...]]]
        self._queue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._spare = 0  # threads that wait for a call, less calls that wait for a thread

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` on a thread, in a copy of the caller's context."""
        future: Future[Any] = Future()
        with self._lock:
            self._spare -= 1
            is_short = self._spare < 0 and (self._limit is None or self._threads < self._limit)
            self._threads += is_short
        self._queue.put((future, contextvars.copy_context(), function, args))
        if is_short:
            threading.Thread(target=self._work, daemon=True, name="promptflow-tool").start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                self._spare += 1
            while True:
                try:
                    future, context, function, args = self._queue.get(timeout=self._idle_seconds)
                    break
                except queue.Empty:
                    with self._lock:
                        if self._spare > 0:  # else a call has just come for this one
                            self._spare -= 1
                            self._threads -= 1
                            return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(context.run(function, *args))
            except BaseException as error:  # SystemExit in a tool ends the tool, not the thread
                future.set_exception(error)
            del future, context, function, args


def start_daemon(name: str, target: Callable[[], None]) -> threading.Thread:
    """A thread that carries the caller's context. Daemon: what never ends must not keep the process alive."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name=f"promptflow-{name}", daemon=True)
    thread.start()
    return thread


pool = DaemonPool()
