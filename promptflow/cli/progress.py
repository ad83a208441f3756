"""Progress of a run on stderr: one live line on a terminal, a plain line per 10 s or 10 % without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promptflow.batch.result import BatchResult
from promptflow.cli import style
from promptflow.cli.output import Output

_REDRAW_SECONDS = 0.1
_PLAIN_SECONDS = 10.0
_LEAST_SECONDS = 1.0  # a run of ten quick rows needs one line, not ten
Shown = Callable[[BatchResult], None]


def describe(result: BatchResult) -> str:
    """`34/100 rows, 2 failed, 5 reused, 12.3 rows/s, 410 tokens/s, 5 s left`."""
    seconds = max(result.duration, 1e-9)
    fresh = result.ended_lines - result.reused_lines
    rate = fresh / seconds
    parts = [f"{result.ended_lines}/{result.total_lines} rows"]
    if result.failed_lines:
        parts.append(f"{result.failed_lines} failed")
    if result.reused_lines:
        parts.append(f"{result.reused_lines} reused")
    if fresh:
        parts.append(f"{rate:.1f} rows/s")
    if result.tokens["total_tokens"]:
        parts.append(f"{result.tokens['total_tokens'] / seconds:.0f} tokens/s")
    if fresh and result.ended_lines < result.total_lines:
        parts.append(f"{(result.total_lines - result.ended_lines) / rate:.0f} s left")
    return ", ".join(parts)


@contextmanager
def progress(out: Output) -> Iterator[Shown]:
    """A function to call with the result so far."""
    if out.no_progress or out.format == "quiet":
        yield lambda result: None
    elif style.is_terminal(out.stderr):
        line = _LiveLine(out)
        try:
            yield line
        finally:
            line.end()
    else:
        yield _PlainLines(out)


class _LiveLine:
    """Drawn over itself, at most ten times a second."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._drawn = 0.0

    def __call__(self, result: BatchResult) -> None:
        now = time.monotonic()
        if now - self._drawn < _REDRAW_SECONDS and result.ended_lines < result.total_lines:
            return
        self._drawn = now
        self._out.stderr.write(f"\r\x1b[2K{describe(result)}")
        self._out.stderr.flush()

    def end(self) -> None:
        if self._drawn:
            self._out.stderr.write("\n")
            self._out.stderr.flush()


class _PlainLines:
    def __init__(self, out: Output) -> None:
        self._out = out
        self._said = time.monotonic()
        self._tenth = 0

    def __call__(self, result: BatchResult) -> None:
        tenth = 10 * result.ended_lines // max(1, result.total_lines)
        now = time.monotonic()
        waited = now - self._said
        due = waited >= _PLAIN_SECONDS or (tenth > self._tenth and waited >= _LEAST_SECONDS)
        if not due and result.ended_lines < result.total_lines:
            return
        self._said, self._tenth = now, tenth
        self._out.note(describe(result))
