"""How fast a batch goes, and how long it will take: measured over its last half minute, as its speed changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from promptflow.batch.result import BatchResult

WINDOW_SECONDS = 30.0
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Pace:
    """Rates per second; ``seconds_left`` is None while nothing is known."""

    lines: float = 0.0
    tokens: float = 0.0
    seconds_left: float | None = None


class PaceMeter:
    """Asked again and again, tells the pace since up to half a minute ago. Lines of an earlier run, or of an earlier
    attempt at this one, do not count: time begins when the last of them is taken over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()  # time, lines, tokens
        self._reused = -1

    def measure(self, result: BatchResult) -> Pace:
        now, tokens = self._clock(), result.tokens["total_tokens"]
        reused = result.reused_lines
        lines = max(0, result.ended_lines - reused)
        if not self._samples:
            # When the batch began, and what it had before the first line ran anew.
            self._samples.append((now - result.duration, 0, 0 if lines else tokens))
        elif reused != self._reused:
            self._samples = deque([(now, lines, tokens)])
        self._reused = reused
        began, lines_then, tokens_then = self._samples[0]
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, lines, tokens))
            while now - self._samples[1][0] > WINDOW_SECONDS:
                self._samples.popleft()
        seconds = max(now - began, 1e-3)
        rate = max(0, lines - lines_then) / seconds
        left = (result.total_lines - result.ended_lines) / rate if rate else None
        return Pace(rate, max(0, tokens - tokens_then) / seconds, left)
