"""Several worker processes on one port. One that dies is replaced; all end together."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from promptflow.exceptions import UserErrorException
from promptflow.serving.options import ServeOptions
from promptflow.serving.server import GRACE_SECONDS, divided

START_SECONDS = 600  # a flow may load a model when it is imported
LOOK_SECONDS = 0.1
SHORT_LIFE_SECONDS = 5.0  # one that lived shorter is replaced later and later
LONGEST_PAUSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class _Worker:
    """One process, from its start."""

    def __init__(self, options: ServeOptions, listener: socket.socket) -> None:
        self.begun = time.monotonic()
        self._report, report = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "promptflow.serving.worker"],
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(), report),
                start_new_session=True,  # Ctrl-C on a terminal is for the starter, who tells the workers
            )
        finally:
            os.close(report)
        assert self.process.stdin is not None
        told = {"options": asdict(options), "socket": listener.fileno(), "report": report}
        self.process.stdin.write(json.dumps(told).encode() + b"\n")
        self.process.stdin.flush()

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """Whether it answers now; not, if all are to stop. Raises the user error that it ended with."""
        end = self.begun + START_SECONDS
        while not stop.is_set() and time.monotonic() < end:
            readable, _, _ = select.select([self._report], [], [], LOOK_SECONDS)
            if readable:
                self._read_report()
                return True
        if stop.is_set():
            return False
        raise UserErrorException(f"The flow was not loaded within {START_SECONDS} seconds.")

    def _read_report(self) -> None:
        with os.fdopen(self._report, "rb") as pipe:
            line = pipe.readline()
        if not line:
            code = self.process.wait()
            raise UserErrorException(
                f"The process that loads the flow ended with {_end_of(code)}.", hint="what it wrote is above"
            )
        news: dict[str, Any] = json.loads(line)
        if news:
            raise UserErrorException(news["message"], location=news["location"], hint=news["hint"])

    def lived(self) -> float:
        return time.monotonic() - self.begun

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def close(self, deadline: float) -> None:
        """Wait for its end, at most until ``deadline``."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def serve_with_workers(
    options: ServeOptions, listener: socket.socket, count: int, ready: Callable[[], None] = lambda: None
) -> None:
    """Keep ``count`` workers answering until SIGINT or SIGTERM. Raises what keeps the first of them from loading."""
    workers: list[_Worker] = []
    listeners = divided(listener, count)
    with _stopped_by_signals() as stop:
        try:
            workers.append(_Worker(options, listeners[0]))
            if not workers[0].wait_until_ready(stop):
                return
            workers += [_Worker(options, one) for one in listeners[1:]]
            for worker in workers[1:]:
                worker.wait_until_ready(stop)
            if not stop.is_set():
                ready()
                _keep(workers, stop, lambda place: _Worker(options, listeners[place]))
        finally:
            _end_all(workers)
            for one in listeners:
                one.close()


def _keep(workers: list[_Worker], stop: threading.Event, new: Callable[[int], _Worker]) -> None:
    """Replace those that end."""
    pauses = [0.0] * len(workers)
    due: dict[int, float] = {}
    while not stop.wait(LOOK_SECONDS):
        for place, worker in enumerate(workers):
            if place in due:
                if time.monotonic() >= due[place]:
                    del due[place]
                    workers[place] = new(place)
            elif (code := worker.process.poll()) is not None:
                pauses[place] = _pause(pauses[place], worker.lived())
                due[place] = time.monotonic() + pauses[place]
                worker.close(0)
                logger.warning("worker %d ended with %s; another takes its place", worker.process.pid, _end_of(code))


def _pause(last: float, lived: float) -> float:
    """Seconds until a worker is replaced: at once the first time, then twice as long each time it dies young."""
    if lived > SHORT_LIFE_SECONDS:
        return 0.0
    return min(max(last * 2, 0.5), LONGEST_PAUSE_SECONDS)


def _end_of(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _end_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.end()
    deadline = time.monotonic() + GRACE_SECONDS + 2
    for worker in workers:
        worker.close(deadline)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
