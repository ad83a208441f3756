"""Progress of bytes on stderr: one live line on a terminal, a plain line per 10 s or 10 % without one."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promptflow.cli import style
from promptflow.cli.output import Output
from promptflow.cli.progress_text import duration
from promptflow.workspace.sizes import size_text

_LIVE_SECONDS, _PLAIN_SECONDS = 0.1, 10.0
_RATE_SECONDS = 5.0  # over which the rate is taken
_LONGEST_BAR = 40


@contextmanager
def bytes_progress(out: Output, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with each number of bytes that were done. Any thread may."""
    live = style.is_terminal(out.stderr) and os.environ.get("TERM") != "dumb"
    if out.no_progress or out.format == "quiet" or not total:
        yield lambda count: None
        return
    shown = _Shown(out, what, total, live)
    try:
        yield shown.add
    finally:
        shown.end()


class _Shown:
    def __init__(self, out: Output, what: str, total: int, live: bool) -> None:
        self.out, self.what, self.total, self.live = out, what, total, live
        self.done = 0
        self.marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self.said, self.tenth = time.monotonic(), 0
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            now, tenth = time.monotonic(), 10 * self.done // self.total
            if now - self.said < (_LIVE_SECONDS if self.live else 1.0):
                return
            if self.live or now - self.said >= _PLAIN_SECONDS or tenth > self.tenth:
                self.said, self.tenth = now, tenth
                self.show(now)

    def end(self) -> None:
        self.show(time.monotonic())
        if self.live:
            print(file=self.out.stderr, flush=True)

    def show(self, now: float) -> None:
        parts = [f"{size_text(self.done)} of {size_text(self.total)}", *self._rates(now)]
        if not self.live:
            return self.out.note(f"{self.what}: {', '.join(parts)}")
        text = f"{self.what}  {'  '.join(parts)}"
        width = shutil.get_terminal_size().columns - 1
        room = min(_LONGEST_BAR, width - len(text) - 2)
        full, empty = ("━", "─") if style.speaks_unicode(self.out.stderr) else ("#", "-")
        filled = max(0, room) * self.done // self.total
        bar = f"  {full * filled}{empty * (room - filled)}" if room >= 5 else ""
        print(f"\r{(text + bar)[:width]:<{width}}", end="", file=self.out.stderr, flush=True)

    def _rates(self, now: float) -> list[str]:
        self.marks.append((now, self.done))
        while len(self.marks) > 2 and now - self.marks[0][0] > _RATE_SECONDS:
            self.marks.popleft()
        (since, before), left = self.marks[0], self.total - self.done
        rate = (self.done - before) / (now - since) if now > since else 0.0
        if not rate:
            return []
        return [f"{size_text(int(rate))}/s", *([f"{duration(left / rate)} left"] if left else [])]
