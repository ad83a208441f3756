"""How many lines run at once where nobody has said: as many as make the batch faster, fewer when a server asks for it.

A raise pays if lines end more often after it. That is measured in rounds: first as many lines as run at once are let
by, which began among another number, then so many again are timed. Nothing here knows of tasks, threads or servers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 256
_QUICK = 2.0  # the step of the first raises
_STEP = 1.5  # the step once a raise did not pay, or a server was asked too much
_PAYS = 0.4  # of a step's ideal gain in lines per second, so much must be seen: less is noise
_SHARE = 0.1  # with so many refusals for each line at once, there are too many at once
_FIRST_HOLD, _MOST_HOLD = 8, 32  # rounds without another try
_ROUND_SECONDS = 0.1  # a shorter round says nothing


class AdaptiveLimit:
    """``limit``: how many lines are to run at once, now; between 1 and ``most``."""

    def __init__(self, start: int, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(start, most)
        self._most = most
        self._clock = clock
        self._factor = _QUICK
        self._hold = 0
        self._next_hold = _FIRST_HOLD
        self._paid: tuple[int, float] | None = None  # the last number that paid, and its lines per second
        self._calm_at = clock()  # refusals before this belong to what was answered already
        self._begin(let_by=0)

    def _begin(self, let_by: int) -> None:
        self._let_by = let_by
        self._lines = 0
        self._refused = 0
        self._began = self._clock()

    def ended(self) -> None:
        """A line ended, and did not fail."""
        self._lines += 1
        if self._let_by:
            if self._lines >= self._let_by:
                refused = self._refused
                self._begin(let_by=0)
                self._refused = refused
        elif self._lines >= self.limit * (1 if self._factor == _QUICK else 2):
            seconds = self._clock() - self._began
            if seconds >= _ROUND_SECONDS:
                self._judge(self._lines / seconds)

    def throttled(self, retry_after: float | None = None) -> None:
        """A server refused a request because of too many, or did not answer in time; it may say for how many seconds.

        What was in flight together is refused together: that takes the last raise back, or halves the number, once.
        """
        now = self._clock()
        self._refused += 1
        if now < self._calm_at or (not retry_after and self._refused < self.limit * _SHARE):
            return
        if self._paid is not None and self._paid[0] < self.limit:
            self._go_back()
        else:
            self.limit = max(1, self.limit // 2)
            self._hold = max(1, self._hold)
            self._paid = None
        self._factor = _STEP
        self._calm_at = now + max(retry_after or 0.0, 1.0)
        self._begin(let_by=self.limit)

    def _judge(self, rate: float) -> None:
        """A round is over: raise, keep, or go back to what was as fast."""
        before = self.limit
        if self._refused or self._hold:
            self._hold = max(0, self._hold - 1)
            self._paid = None
        elif self._paid is None or rate >= self._enough(*self._paid):
            self._paid = (before, rate)
            self.limit = min(self._most, max(before + 1, int(before * self._factor)))
        else:
            self._factor = _STEP
            self._go_back()
        self._begin(let_by=0 if self.limit == before else self.limit)

    def _go_back(self) -> None:
        """The last raise was one too many: no other for a while, and for longer each time."""
        assert self._paid is not None
        self.limit = self._paid[0]
        self._paid = None
        self._hold = self._next_hold
        self._next_hold = min(2 * self._next_hold, _MOST_HOLD)

    def _enough(self, limit: int, rate: float) -> float:
        """The lines per second that make this limit worth its raise from ``limit``."""
        return rate * (1 + _PAYS * (self.limit / limit - 1))
