"""Endpoints that asked to be left alone for a while (Retry-After): nobody in this process sends to them before that.

Those that wait do not all come back at once: one goes first, and while nobody is refused again, twice as many follow
with every step.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Hashable

_STEPS = 8  # after these, everybody may go
_LONGEST_STEP = 0.25  # seconds; a short pause is followed by short steps


class _Pause:
    def __init__(self, until: float, seconds: float) -> None:
        self.until = until
        self._step = min(_LONGEST_STEP, seconds / _STEPS)
        self._turns = itertools.count(1)

    def turn(self) -> float:
        """When the next one may go."""
        return self.until + self._step * (next(self._turns).bit_length() - 1)

    def is_over(self, now: float) -> bool:
        return now >= self.until + self._step * _STEPS


pauses: dict[Hashable, _Pause] = {}  # empty as a rule: who sends looks here first


def pause(endpoint: Hashable, seconds: float) -> None:
    """Nobody is to send there for so long."""
    until = time.monotonic() + seconds
    known = pauses.get(endpoint)
    if known is None or known.until < until:
        pauses[endpoint] = _Pause(until, seconds)


async def turn(endpoint: Hashable) -> None:
    """Wait until a request may go there."""
    while (found := pauses.get(endpoint)) is not None:
        if found.is_over(time.monotonic()):
            pauses.pop(endpoint, None)
            return
        await asyncio.sleep(found.turn() - time.monotonic())
        if pauses.get(endpoint) is found:
            return
