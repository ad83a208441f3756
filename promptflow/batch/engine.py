"""Many lines through one flow: some at a time, each with its timeout, results handed on as they come.

How lines run is a transport's business: `tasks` of one event loop for flows that wait for models, `threads` for
others. The calling thread only waits, so that Ctrl-C is seen at once: the first time, lines in flight are finished
and no new ones started.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.batch.adaptive import AdaptiveLimit
from promptflow.batch.in_flight import InFlight
from promptflow.batch.options import RunOptions
from promptflow.contracts.run import LineResult, RunInfo, Status
from promptflow.exceptions import BatchExecutionTimeoutError
from promptflow.executor.line import FIRST_ATTEMPT, Attempt
from promptflow.executor.output import routed_output
from promptflow.llm.pressure import watching

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

COLLECT_AFTER = 20_000  # objects
Row = Mapping[str, Any]
Done = Callable[[LineResult, Row, str], None]
NodeEnded = Callable[[RunInfo], None]
Known = Mapping[int, Mapping[str, RunInfo]]
Transport = Callable[["Batch"], Callable[[], float]]


@dataclass
class Batch:
    """One batch while it runs, as its transport sees it.

    A transport is called with the batch, starts the work and returns a function that the waiting thread calls again
    and again, which says how many seconds it may sleep. It takes lines by `next_line`, hands on each result once,
    reports by `fail` what is fatal for all, sets ``cancel`` to what ends lines in flight, and sets ``ended`` when
    no line is left. ``known`` holds records of nodes, by line, that ended before the run was interrupted.
    ``set_aside`` are lines that were in flight when the run's process died. ``adaptive`` finds how many lines at once
    pay, where nobody has said; `at_once` is the number that counts.
    """

    executor: Executor
    lines: Iterator[tuple[int, Row]]
    done: Done
    run_id: str
    options: RunOptions
    skip: Container[int] = ()
    known: Known = field(default_factory=dict)
    on_node: NodeEnded | None = None
    in_flight: InFlight | None = None
    adaptive: AdaptiveLimit | None = None
    set_aside: dict[int, Row] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    exhausted: bool = False  # no line is left to start
    stopping: bool = False  # no new lines
    interrupted: bool = False
    given_up: bool = False  # no more results either
    cancel: Callable[[], None] = lambda: None
    failure: BaseException | None = None

    def next_line(self) -> tuple[int, Row] | None:
        """The next line to run; None when there is none, or when the batch is to stop."""
        with self.lock:
            for number, row in () if self.stopping else self.lines:
                if number in self.skip:
                    continue
                if self.in_flight is not None:
                    if number in self.in_flight.before and number not in self.set_aside:
                        self.set_aside[number] = row
                        continue
                    self.in_flight.start(number)
                return number, row
            self.exhausted = True
        return None

    def adapt(self, start: int, most: int) -> None:
        """Begin with ``start`` lines at once and find the best number up to ``most``, unless one is given."""
        if self.options.concurrency is None and self.adaptive is None:
            self.adaptive = AdaptiveLimit(start, most)

    def throttled(self, retry_after: float | None, refused: bool) -> None:
        """A model's server is asked too much; it may have said for how many seconds."""
        if self.adaptive is not None:
            self.adaptive.throttled(retry_after)

    @property
    def at_once(self) -> int:
        """How many lines are to run at once, now."""
        return self.adaptive.limit if self.adaptive is not None else self.options.concurrency or 1

    def attempt(self, number: int) -> Attempt:
        """What to give to the executor for this line, in this process."""
        if self.on_node is None and not self.known:
            return FIRST_ATTEMPT
        return Attempt(self.known.get(number, {}), self.node_ended)

    def node_ended(self, info: RunInfo) -> None:
        """A node of a line ended; called before its output counts, from any thread."""
        if self.on_node is not None and not self.given_up:
            self.on_node(info)

    def hand_on(self, result: LineResult, row: Row, printed: str) -> None:
        """A line ended."""
        with self.lock:
            self.hand_on_locked(result, row, printed)

    def hand_on_locked(self, result: LineResult, row: Row, printed: str) -> None:
        """As `hand_on`, for who holds the lock."""
        if not self.given_up:
            self.done(result, row, printed)
            if self.in_flight is not None and result.run_info.index is not None:
                self.in_flight.end(result.run_info.index)
            if self.adaptive is not None and result.run_info.status is Status.Completed:
                self.adaptive.ended()

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
    known: Known | None = None,
    on_node: NodeEnded | None = None,
    in_flight: Path | None = None,
) -> bool:
    """Run every line not in ``skip``; ``done(result, row, printed)`` gets each result, one at a time, as they come.

    ``on_node`` gets the record of every node when it ends, from any thread, except those that ``known`` holds by
    line number. ``in_flight`` is the file with the numbers of the lines at work: those that a process before left in
    it run at the end, in a process of their own. Returns False when Ctrl-C stopped it early. Raises
    BatchExecutionTimeoutError after ``options.batch_timeout``, and what ``lines`` or ``done`` raise; lines in flight
    are finished first, except at the timeout.
    """
    batch = Batch(executor, iter(lines), done, run_id, options, skip, known or {}, on_node)
    deadline = time.monotonic() + options.batch_timeout if options.batch_timeout else None
    # A worker or a node that dies costs no more than its lines.
    if in_flight is not None and not options.workers and not options.compute:
        batch.in_flight = InFlight(in_flight)
    try:
        with _loaded_for_good(), routed_output(), watching(batch.throttled), _finishing_on_interrupt(batch):
            _wait(batch, _transport(executor, options)(batch), deadline)
            if batch.set_aside and not batch.stopping:
                _wait(batch, _start_apart(batch), deadline)
    except BaseException:
        batch.give_up()
        raise
    finally:
        if batch.in_flight is not None:
            batch.in_flight.close(ended=skip)
    if batch.failure is not None:
        raise batch.failure
    return not batch.interrupted


def _start_apart(batch: Batch) -> Callable[[], float]:
    """Run the lines set aside, where they cannot end this process."""
    batch.lines = iter(list(batch.set_aside.items()))
    batch.ended.clear()
    batch.exhausted = False
    if batch.executor.origin is not None:
        batch.options = replace(batch.options, workers=1, compute=None)
    return _transport(batch.executor, batch.options)(batch)


def _transport(executor: Executor, options: RunOptions) -> Transport:
    # Loaded when chosen: a flow of plain Python must not pay for asyncio, nor either of them for processes.
    if options.compute:
        from promptflow.batch.ray_transport import start_ray

        return start_ray
    if options.workers:
        from promptflow.batch.processes import start_processes

        return start_processes
    if executor.prefers_async:
        from promptflow.batch.tasks import start_tasks

        return start_tasks
    from promptflow.batch.threads import start_threads

    return start_threads


def _wait(batch: Batch, watch: Callable[[], float], deadline: float | None) -> None:
    while not batch.ended.is_set():
        # Short waits: a signal that the system gave to another thread is seen when this one wakes.
        batch.ended.wait(min(watch(), _left(deadline), 0.5))
        if deadline is not None and time.monotonic() >= deadline and not batch.ended.is_set():
            raise BatchExecutionTimeoutError(
                f"The batch run failed due to timeout [{batch.options.batch_timeout:g}s]. "
                "Please adjust the timeout to a higher value.",
                hint="set PF_BATCH_TIMEOUT_SEC",
            )


@contextmanager
def _loaded_for_good() -> Iterator[None]:
    """Python's collector leaves alone what is there by now (going through it takes 30 ms, in which no line goes on),
    and looks less often for garbage among what lines leave: all of that is freed when they end."""
    before = gc.get_threshold()
    gc.freeze()
    if 0 < before[0] < COLLECT_AFTER:  # 0: somebody turned it off
        gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _finishing_on_interrupt(batch: Batch) -> Iterator[None]:
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
