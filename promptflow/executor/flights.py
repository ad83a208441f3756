"""Calls under way whose results will be kept: who needs the same result meanwhile waits for it, and makes no call.

It is an aid and nothing more: where a call fails, is cancelled or takes very long, those that waited make their own.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from threading import Lock

PATIENCE = 120.0  # seconds; a call may hang, and its line be given up already


class Flights:
    """The calls of one node that are under way, by the key of their result. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[bytes, Future[None]] = {}
        self.is_of_use = True  # False once a result could not be kept: who waited for it waited in vain

    def board(self, key: bytes) -> Flight:
        """Make the call, or wait for who makes it."""
        with self._lock:
            ahead = self._under_way.get(key)
            if ahead is not None:
                return Flight(self, key, ahead, is_ahead=False)
            mine = self._under_way[key] = Future()
            return Flight(self, key, mine, is_ahead=True)

    def end(self, key: bytes, call: Future[None]) -> None:
        with self._lock:
            if self._under_way.get(key) is call:
                del self._under_way[key]


class Flight:
    """One node's part in a call. Where it ``is_ahead``, it makes the call and must `land`, whatever comes of it."""

    __slots__ = ("_call", "_flights", "_key", "is_ahead")

    def __init__(self, flights: Flights, key: bytes, call: Future[None], *, is_ahead: bool) -> None:
        self._flights = flights
        self._key = key
        self._call = call
        self.is_ahead = is_ahead

    def land(self) -> None:
        """The call has ended. The second time does nothing."""
        if self.is_ahead and not self._call.done():
            self._flights.end(self._key, self._call)
            self._call.set_result(None)

    def wait(self) -> None:
        """Until the call has ended, or long enough."""
        with suppress(TimeoutError):
            self._call.result(PATIENCE)
        self._flights.end(self._key, self._call)  # nobody else is to wait for one that takes so long

    async def wait_async(self) -> None:
        import asyncio  # flows of plain Python never pay for it

        await asyncio.wait([asyncio.wrap_future(self._call)], timeout=PATIENCE)
        self._flights.end(self._key, self._call)
