"""How many requests and tokens were sent when: decides when the next request may go. Pure; the caller tells the time.

Requests: at most ``requests`` in any minute, which is split so that they do not all go in its first second. The times
of the last few are kept in a ring, and the next one goes no earlier than one split after the oldest of them.
Tokens: each pushes the time at which all are paid for further away; it may be ahead of now by ``_AHEAD`` seconds.
"""

from __future__ import annotations

from typing import Protocol

_MINUTE = 60.0
_AHEAD = 3.0  # seconds
_FEW = 10  # so many requests may always go together, if a minute has as many
_COUNT, _PAID, _RING = range(3)  # the cells: requests so far, when the tokens are paid for, the times


class Cells(Protocol):
    """Numbers by index, all 0 in the beginning."""

    def __getitem__(self, index: int, /) -> float: ...
    def __setitem__(self, index: int, value: float, /) -> None: ...


class Ledger:
    """The requests of one connection. ``requests`` and ``tokens`` are per minute, 0 for no limit."""

    def __init__(self, cells: Cells, requests: int, tokens: int) -> None:
        self._cells = cells
        self._places, self._split = _split(requests)
        # In any minute no more than ``tokens``, what goes ahead included.
        self._seconds_per_token = (_MINUTE + _AHEAD) / tokens if tokens else 0.0

    @staticmethod
    def size(requests: int) -> int:
        """How many cells it needs."""
        return _RING + _split(requests)[0]

    def reserve(self, now: float, tokens: float) -> float:
        """A request of so many tokens is to be sent: when it may go."""
        cells, at = self._cells, now
        if self._places:
            count = int(cells[_COUNT])
            place = _RING + count % self._places
            if cells[place]:
                at = max(at, cells[place] + self._split)
        if self._seconds_per_token:
            at = max(at, cells[_PAID] - _AHEAD)
            cells[_PAID] = max(cells[_PAID], at) + tokens * self._seconds_per_token
        if self._places:
            cells[place] = at
            cells[_COUNT] = count + 1
        return at

    def settle(self, more: float) -> None:
        """A request was of so many tokens more (or less, if negative) than was reserved."""
        if self._seconds_per_token:
            self._cells[_PAID] += more * self._seconds_per_token


def _split(requests: int) -> tuple[int, float]:
    """So many requests in so many seconds are never more than ``requests`` in a minute."""
    splits = max(1, min(60, requests // _FEW))
    return requests // splits, _MINUTE / splits
