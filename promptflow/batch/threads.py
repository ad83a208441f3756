"""Lines on daemon threads: for flows of synchronous tools."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from promptflow.executor.guarded import failed_line, line_timeout, run_line
from promptflow.executor.line import now
from promptflow.executor.output import line_output
from promptflow.executor.threads import start_daemon
from promptflow.llm.pressure import more_time

if TYPE_CHECKING:
    from promptflow.batch.engine import Batch

START, MOST = 4, 64  # lines at once, where nobody has said


class _LineTimeout(BaseException):
    """Raised inside the thread of a line that ran out of time."""


@dataclass(eq=False)
class _Worker:
    """A thread and the line it is at."""

    thread: threading.Thread | None = None
    number: int = -1
    row: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0
    start: datetime | None = None

    def give_time(self, seconds: float) -> None:
        """So long its line waited for the limits of a connection."""
        self.started += seconds


def start_threads(batch: Batch) -> Callable[[], float]:
    """Start the workers. The returned function, called again and again, gives up lines that are out of time and
    says how long to sleep."""
    workers: list[_Worker] = []

    def grow() -> None:
        while len(workers) < batch.at_once and not batch.exhausted:
            worker = _Worker()
            workers.append(worker)
            worker.thread = start_daemon(f"batch-{len(workers)}", partial(work, worker))

    def work(worker: _Worker) -> None:
        more_time.set(worker.give_time)
        try:
            while (line := batch.next_line()) is not None:
                number, row = line
                worker.start, worker.started = now(), time.monotonic()
                worker.number, worker.row = number, row
                with line_output() as output:
                    result = run_line(batch.executor, number, row, batch.run_id, batch.attempt(number))
                with batch.lock:
                    if worker not in workers or batch.given_up:  # its line has failed already
                        return
                    worker.number = -1
                    batch.hand_on_locked(result, row, output.text)
                    if len(workers) > batch.at_once:
                        workers.remove(worker)
                        return
                    grow()
        except _LineTimeout:
            return
        except BaseException as error:
            batch.fail(error)
        finally:
            with batch.lock:
                if worker in workers:
                    workers.remove(worker)
                if not workers:
                    batch.ended.set()

    def watch() -> float:
        oldest = time.monotonic()
        late: list[_Worker] = []
        with batch.lock:
            for worker in workers:
                if worker.number >= 0:
                    if time.monotonic() - worker.started >= batch.options.line_timeout:
                        late.append(worker)
                    else:
                        oldest = min(oldest, worker.started)
            for worker in late:
                error = line_timeout(worker.number, batch.options.line_timeout)
                result = failed_line(
                    batch.executor, worker.row, worker.number, batch.run_id, error, worker.start or now()
                )
                workers.remove(worker)
                batch.hand_on_locked(result, worker.row, "")
            grow()
            if not workers:
                batch.ended.set()
        for worker in late:
            _interrupt(worker.thread)
        return max(0.01, oldest + batch.options.line_timeout - time.monotonic())

    def cancel() -> None:
        for worker in list(workers):
            _interrupt(worker.thread)

    batch.cancel = cancel
    batch.adapt(START, MOST)
    with batch.lock:
        grow()
    return watch


def _interrupt(thread: threading.Thread | None) -> None:
    """Raise in a thread that is still at a line given up: ends endless loops of Python code, not blocking calls."""
    if thread is not None and thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_LineTimeout))
