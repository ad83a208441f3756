"""Many lines through one flow: `workers` at a time, each with its timeout, results handed on as they come.

Lines of a flow that waits for models run as tasks of one event loop, others on daemon threads. The calling thread
only waits, so that Ctrl-C is seen at once: the first time, lines in flight are finished and no new ones started.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from promptflow.batch.options import RunOptions
from promptflow.batch.output import line_output, routed_output
from promptflow.contracts.run import FlowRunInfo, LineResult, Status
from promptflow.exceptions import (
    BatchExecutionTimeoutError,
    LineExecutionTimeoutError,
    UserErrorException,
    error_to_dict,
)
from promptflow.llm import background

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

DEFAULT_CONCURRENCY = 4
Row = Mapping[str, Any]
Done = Callable[[LineResult, Row, str], None]


class _LineTimeout(BaseException):
    """Raised inside the thread of a line that ran out of time."""


@dataclass
class _Batch:
    """One batch while it runs."""

    executor: Executor
    lines: Iterator[tuple[int, Row]]
    done: Done
    run_id: str
    options: RunOptions
    skip: Container[int]
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: bool = False  # no new lines
    interrupted: bool = False
    given_up: bool = False  # no more results either
    cancel: Callable[[], None] = lambda: None
    failure: BaseException | None = None

    def next_line(self) -> tuple[int, Row] | None:
        """The next line to run; None when there is none, or when the batch is to stop."""
        with self.lock:
            for number, row in () if self.stopping else self.lines:
                if number not in self.skip:
                    return number, row
        return None

    def hand_on(self, result: LineResult, row: Row, printed: str) -> None:
        with self.lock:
            if not self.given_up:
                self.done(result, row, printed)

    def give_up(self) -> None:
        """End the lines in flight as far as that can be done; their results are not wanted any more."""
        with self.lock:
            self.stopping = self.given_up = True
        self.cancel()

    def fail(self, error: BaseException) -> None:
        """Something other than a line failed (reading the data, writing a record): the batch ends with it."""
        self.failure = self.failure or error
        self.stopping = True


def run_lines(
    executor: Executor,
    lines: Iterable[tuple[int, Row]],
    done: Done,
    *,
    run_id: str,
    options: RunOptions,
    skip: Container[int] = (),
) -> bool:
    """Run every line not in ``skip``; ``done(result, row, printed)`` gets each result, one at a time, as they come.

    Returns False when Ctrl-C stopped it early. Raises BatchExecutionTimeoutError after ``options.batch_timeout``, and
    what ``lines`` or ``done`` raise; lines in flight are finished first, except at the timeout.
    """
    batch = _Batch(executor, iter(lines), done, run_id, options, skip)
    try:
        with routed_output(), _finishing_on_interrupt(batch):
            _wait(batch, _start_tasks(batch) if executor.prefers_async else _start_threads(batch))
    except BaseException:
        batch.give_up()
        raise
    if batch.failure is not None:
        raise batch.failure
    return not batch.interrupted


def _wait(batch: _Batch, watch: Callable[[], float]) -> None:
    options = batch.options
    deadline = time.monotonic() + options.batch_timeout if options.batch_timeout else None
    while not batch.ended.is_set():
        # Short waits: a signal that the system gave to another thread is seen when this one wakes.
        batch.ended.wait(min(watch(), _left(deadline), 0.5))
        if deadline is not None and time.monotonic() >= deadline and not batch.ended.is_set():
            raise BatchExecutionTimeoutError(
                f"The batch run failed due to timeout [{options.batch_timeout:g}s]. "
                "Please adjust the timeout to a higher value.",
                hint="set PF_BATCH_TIMEOUT_SEC",
            )


@contextmanager
def _finishing_on_interrupt(batch: _Batch) -> Iterator[None]:
    """The first Ctrl-C only stops new lines; the second raises KeyboardInterrupt, as any does outside."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def finish(number: int, frame: Any) -> None:
        batch.stopping = batch.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, finish)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _left(deadline: float | None) -> float:
    return 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())


# -- lines as tasks of one event loop -----------------------------------------------------------------------------
def _start_tasks(batch: _Batch) -> Callable[[], float]:
    def run() -> None:
        try:
            background.run(_run_tasks(batch))
        except BaseException as error:  # handed to the calling thread
            batch.fail(error)
        finally:
            batch.ended.set()

    _start_thread("batch", run)
    return lambda: 3600.0


async def _run_tasks(batch: _Batch) -> None:
    async def work() -> None:
        while (line := batch.next_line()) is not None:
            number, row = line
            with line_output() as output:
                result = await _run_line_task(batch, number, row)
            batch.hand_on(result, row, output.text)

    loop = asyncio.get_running_loop()
    tasks = [asyncio.ensure_future(work()) for _ in range(batch.options.concurrency or DEFAULT_CONCURRENCY)]

    def cancel() -> None:
        for task in tasks:
            loop.call_soon_threadsafe(task.cancel)

    batch.cancel = cancel
    for ended in asyncio.as_completed(tasks):
        try:
            await ended
        except Exception as error:
            batch.fail(error)


async def _run_line_task(batch: _Batch, number: int, row: Row) -> LineResult:
    start = _now()
    failure: BaseException
    limit = asyncio.timeout(batch.options.line_timeout)
    try:
        async with limit:
            return await batch.executor.run_line_async(row, index=number, run_id=batch.run_id)
    except TimeoutError as error:
        failure = _timeout(batch, number) if limit.expired() else error
    except SystemExit as error:
        failure = _exit(error)
    except Exception as error:
        failure = error
    return failed_line(batch.executor, row, number, batch.run_id, failure, start)


# -- lines on threads ---------------------------------------------------------------------------------------------
@dataclass(eq=False)
class _Worker:
    """A thread and the line it is at."""

    thread: threading.Thread | None = None
    number: int = -1
    row: Row = field(default_factory=dict)
    started: float = 0.0
    start: datetime | None = None


def _start_threads(batch: _Batch) -> Callable[[], float]:
    """Start the workers. The returned function, called again and again, gives up lines that are out of time and
    says how long to sleep."""
    workers: list[_Worker] = []

    def start() -> None:
        worker = _Worker()
        workers.append(worker)
        worker.thread = _start_thread(f"batch-{len(workers)}", lambda: work(worker))

    def work(worker: _Worker) -> None:
        try:
            while (line := batch.next_line()) is not None:
                number, row = line
                worker.start, worker.started = _now(), time.monotonic()
                worker.number, worker.row = number, row
                with line_output() as output:
                    result = _run_line(batch, number, row, worker.start)
                with batch.lock:
                    if worker not in workers or batch.given_up:  # its line has failed already
                        return
                    worker.number = -1
                    batch.done(result, row, output.text)
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
                error = _timeout(batch, worker.number)
                result = failed_line(
                    batch.executor, worker.row, worker.number, batch.run_id, error, worker.start or _now()
                )
                workers.remove(worker)
                batch.done(result, worker.row, "")
                start()
        for worker in late:
            _interrupt(worker.thread)
        return max(0.01, oldest + batch.options.line_timeout - time.monotonic())

    def cancel() -> None:
        for worker in list(workers):
            _interrupt(worker.thread)

    batch.cancel = cancel
    with batch.lock:
        for _ in range(batch.options.concurrency or DEFAULT_CONCURRENCY):
            start()
    return watch


def _run_line(batch: _Batch, number: int, row: Row, start: datetime) -> LineResult:
    try:
        return batch.executor.run_line(row, index=number, run_id=batch.run_id)
    except SystemExit as error:
        failure: BaseException = _exit(error)
    except (KeyboardInterrupt, GeneratorExit) as error:  # raised by a tool: fails its line only
        failure = UserErrorException(f"The flow's code raised {type(error).__name__}.", error=error)
    except Exception as error:
        failure = error
    return failed_line(batch.executor, row, number, batch.run_id, failure, start)


def _start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    # Daemon: a line that never ends must not keep the process alive.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name=f"promptflow-{name}", daemon=True)
    thread.start()
    return thread


def _interrupt(thread: threading.Thread | None) -> None:
    """Raise in a thread that is still at a line given up: ends endless loops of Python code, not blocking calls."""
    if thread is not None and thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_LineTimeout))


# -- lines that failed outside the flow ---------------------------------------------------------------------------
def failed_line(
    executor: Executor, row: Row, number: int, run_id: str, error: BaseException, start: datetime
) -> LineResult:
    """The result of a line that ended without one of its own."""
    end = _now()
    info = FlowRunInfo(
        run_id=f"{run_id}_{number}",
        status=Status.Failed,
        error=error_to_dict(error, include_debug_info=True),
        inputs=row,
        output=None,
        metrics=None,
        request=None,
        parent_run_id=run_id,
        root_run_id=run_id,
        source_run_id=None,
        flow_id=getattr(executor.flow, "id", "default_flow_id"),
        start_time=start,
        end_time=end,
        index=number,
        api_calls=[],
        system_metrics={"duration": (end - start).total_seconds()},
    )
    return LineResult({}, {}, info, {}, error)


def _timeout(batch: _Batch, number: int) -> LineExecutionTimeoutError:
    return LineExecutionTimeoutError(
        f"Line {number} execution timeout for exceeding {batch.options.line_timeout:g} seconds",
        hint="set PF_LINE_TIMEOUT_SEC",
    )


def _exit(error: SystemExit) -> UserErrorException:
    return UserErrorException(f"The flow's code called sys.exit({error.code!r}).", error=error)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
