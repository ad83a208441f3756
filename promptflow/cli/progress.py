"""Progress of a run on stderr: a live block on a terminal, a plain line per 10 s or 10 % without one."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from promptflow.batch.pace import PaceMeter
from promptflow.batch.result import BatchResult
from promptflow.batch.runlog import echoed
from promptflow.batch.ticker import Ticker
from promptflow.cli import style
from promptflow.cli.output import Output
from promptflow.cli.progress_text import block, describe

_REDRAW_SECONDS = 0.1
_IDLE_SECONDS = 1.0  # between redraws while no row ends: the time left grows
_PLAIN_SECONDS = 10.0
_LEAST_SECONDS = 1.0  # a run of ten quick rows needs one line, not ten
_LOOK_SECONDS = 0.25
Shown = Callable[[BatchResult], None]


@contextmanager
def progress(out: Output, log: bool = False) -> Iterator[Shown]:
    """A function to call with the result so far. It only takes note: a thread of its own writes. ``log``: the logs of
    runs are shown as they grow, above the live block; they say themselves what plain lines would."""
    live = style.is_terminal(out.stderr) and os.environ.get("TERM") != "dumb"
    if out.no_progress or out.format == "quiet" or (log and not live):
        with echoed(out.stderr if log else None):
            yield lambda result: None
        return
    shown = _LiveBlock(out) if live else _PlainLines(out)
    try:
        with shown.standing(), echoed(sys.stderr if log else None):
            yield shown
    finally:
        shown.end()


class _Progress:
    """Takes note of the result; the first time, starts to look at it regularly."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.result: BatchResult | None = None
        self.meter = PaceMeter()
        self._ticker: Ticker | None = None

    def __call__(self, result: BatchResult) -> None:
        if self.result is not result:
            self.result = result
            self._ticker = self._ticker or Ticker("progress", self.look)

    def end(self) -> None:
        if self._ticker is not None:
            self._ticker.stop()
            self.show()

    def look(self) -> float:
        """Show what is due; in how many seconds to look again."""
        raise NotImplementedError

    def show(self) -> None:
        raise NotImplementedError

    @contextmanager
    def standing(self) -> Iterator[None]:
        """While the block runs, what others write on stderr does not go into ours."""
        yield


class _PlainLines(_Progress):
    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._said = time.monotonic()
        self._tenth = 0

    def look(self) -> float:
        assert self.result is not None
        tenth = 10 * self.result.ended_lines // max(1, self.result.total_lines)
        waited = time.monotonic() - self._said
        if waited >= _PLAIN_SECONDS or (self._tenth < tenth < 10 and waited >= _LEAST_SECONDS):
            self._said, self._tenth = time.monotonic(), tenth
            self.show()
        return _LOOK_SECONDS

    def show(self) -> None:
        assert self.result is not None
        self.out.note(describe(self.result, self.meter.measure(self.result)))


class _LiveBlock(_Progress):
    """A few lines that are drawn over themselves; what others write stands above them."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._stream = out.stderr
        self._lock = threading.Lock()
        self._widths: list[int] = []  # of the lines that stand on the screen
        self._at_line_start = True
        self._drawn = 0.0
        self._counted = -1

    def look(self) -> float:
        assert self.result is not None
        if self.result.ended_lines != self._counted or time.monotonic() - self._drawn >= _IDLE_SECONDS:
            self.show()
        return _REDRAW_SECONDS

    def show(self) -> None:
        assert self.result is not None
        self._drawn, self._counted = time.monotonic(), self.result.ended_lines
        columns = _columns(self._stream)
        lines = block(self.result, self.meter.measure(self.result), columns - 1, style.speaks_unicode(self._stream))
        color = style.wants_color(self._stream, self.out.no_color)
        with self._lock:
            if self._at_line_start:
                text = "".join(style.paint(line, shade, color and bool(shade)) + "\n" for line, shade in lines)
                self._write(self._erasure(columns) + text)
                self._widths = [len(line) for line, _ in lines]

    def write_above(self, text: str) -> None:
        """Write something that is not ours. While its line is not complete, the block stays away."""
        with self._lock:
            self._write(self._erasure(_columns(self._stream)) + text)
            self._widths = []
            self._at_line_start = text.endswith("\n") if text else self._at_line_start

    @contextmanager
    def standing(self) -> Iterator[None]:
        behind = sys.stderr
        if behind is not self._stream:
            yield
            return
        above = _Above(self, behind)
        handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
        logs = [handler for handler in handlers if handler.stream is behind]
        sys.stderr = above
        for handler in logs:
            handler.setStream(above)
        try:
            yield
        finally:
            sys.stderr = behind
            for handler in logs:
                handler.setStream(behind)

    def _erasure(self, columns: int) -> str:
        rows = sum(max(1, -(-width // columns)) for width in self._widths)  # a terminal made narrower wraps lines
        return f"\x1b[{rows}A\r\x1b[J" if rows else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _Above(io.TextIOBase):
    """Stands for sys.stderr while the block is on the screen."""

    def __init__(self, live: _LiveBlock, behind: TextIO) -> None:
        self._live = live
        self._behind = behind

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._behind.encoding

    def write(self, text: str) -> int:
        self._live.write_above(text)
        return len(text)

    def fileno(self) -> int:
        return self._behind.fileno()

    def isatty(self) -> bool:
        return True


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return shutil.get_terminal_size().columns
