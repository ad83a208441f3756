"""logs.txt: what happened in a run, as a reader of the run folder or `pf run stream` sees it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from promptflow.batch.result import BatchResult
from promptflow.workspace.redact import redacted

_run: ContextVar[str] = ContextVar("promptflow_run", default="")
_echo: ContextVar[TextIO | None] = ContextVar("promptflow_echo", default=None)
_logger = logging.getLogger("promptflow.batch")


@contextmanager
def run_log(file: Path, run_id: str) -> Iterator[logging.Logger]:
    """Write what our loggers say about this run, in any thread that carries its context, into ``file``."""
    handlers: list[logging.Handler] = [_File(file, encoding="utf-8", delay=True)]
    if (stream := _echo.get()) is not None:
        handlers.append(logging.StreamHandler(stream))
    formatter = _Formatter("%(asctime)s %(process)7d %(name)-24s %(levelname)-8s %(message)s", _TIME)
    formatter.converter = time.gmtime
    root = logging.getLogger("promptflow")
    before = root.level
    token = _run.set(run_id)
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: _run.get() == run_id)
        root.addHandler(handler)
    if root.getEffectiveLevel() > logging.INFO:
        root.setLevel(logging.INFO)
    try:
        yield _logger
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before)
        _run.reset(token)


@contextmanager
def echoed(stream: TextIO | None) -> Iterator[None]:
    """What runs in the block write into their logs goes to ``stream`` as well."""
    token = _echo.set(stream or _echo.get())
    try:
        yield
    finally:
        _echo.reset(token)


class _File(logging.FileHandler):
    """On a disk that is full, the log ends; that is told once, as the error of the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # what could not be written is tried again
            super().close()


class _Formatter(logging.Formatter):
    """The log is a file of the run: known secrets stay out of it."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record).encode("utf-8", "backslashreplace")).decode()


_TIME = "%Y-%m-%d %H:%M:%S +0000"


class ProgressLog:
    """One line per tenth of the lines, or per 10 seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._step = max(1, total // 10)
        self._next = self._step
        self._time = time.monotonic()

    def __call__(self, result: BatchResult) -> None:
        ended = result.ended_lines
        if ended < self._next and ended < self._total and (ended & 63 or time.monotonic() - self._time < 10):
            return
        self._next = ended + self._step
        self._time = time.monotonic()
        if ended == result.reused_lines:
            _logger.info("Taken over: %d of %d lines, which ended before.", ended, self._total)
            return
        rate = (ended - result.reused_lines) / result.duration if result.duration > 0 else 0.0
        left = (self._total - ended) / rate if rate else 0.0
        _logger.info(
            "Finished %d / %d lines, %d failed. %.1f lines/s, %.0f s left.",
            ended,
            self._total,
            result.failed_lines,
            rate,
            left,
        )
