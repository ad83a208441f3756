"""The instances of one deployment, and the line of those who wait for one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from serve.endpoints.spec import RequestSettings
from serve.gateway.instance import Instance

LONGEST_LINE = 1000  # who comes when so many wait is refused at once
START_WAIT = 120.0  # seconds that a request waits for instances that are being started


class BusyError(Exception):
    """All instances had their hands full for as long as a request may wait."""


class AbsentError(Exception):
    """No instance is ready, and none will be soon."""


class Lane:
    """Hands out turns at ready instances, to the least busy one first.

    ``in_line`` and ``in_flight`` are what decides how many instances there should be; ``missed`` is called when a
    request finds none, so that a deployment that was scaled to zero comes back. ``coming`` says whether some are about
    to be ready: then a request waits for them longer than for its turn.
    """

    def __init__(self, settings: RequestSettings) -> None:
        self.settings = settings
        self.instances: list[Instance] = []
        self.coming = False
        self.pause = 0.0  # seconds until another instance is tried, where they all fail
        self.missed: Callable[[], None] = lambda: None
        self.used = time.monotonic()
        self._line: deque[asyncio.Future[Instance]] = deque()

    @property
    def in_line(self) -> int:
        return len(self._line)

    @property
    def served(self) -> bool:
        return any(instance.ready for instance in self.instances)

    @property
    def in_flight(self) -> int:
        return sum(instance.in_flight for instance in self.instances)

    def add(self, instance: Instance) -> None:
        """A new one; requests come once it is ready and :meth:`serve_line` was called."""
        instance.limit = self.settings.concurrency
        self.instances.append(instance)

    def remove(self, instance: Instance) -> None:
        if instance in self.instances:
            self.instances.remove(instance)
        instance.close()

    def change(self, settings: RequestSettings) -> None:
        """Other limits, from the next request on."""
        self.settings = settings
        for instance in self.instances:
            instance.limit = settings.concurrency
        self.serve_line()

    async def take(self) -> Instance:
        """An instance that has room, which is to be given back with :meth:`free`."""
        instance = None if self._line else self._roomiest()
        if instance is None:
            return await self._wait()
        instance.in_flight += 1
        return instance

    def free(self, instance: Instance) -> None:
        instance.in_flight -= 1
        self.used = time.monotonic()
        if self._line:
            self.serve_line()

    def serve_line(self) -> None:
        """Give turns to who waits, as far as there is room. Called whenever there may be more of it."""
        while self._line:
            instance = self._roomiest()
            if instance is None:
                return
            waiter = self._line.popleft()
            if not waiter.done():
                instance.in_flight += 1
                waiter.set_result(instance)

    def turn_away(self) -> None:
        """Refuse all who wait: nothing comes for them any more."""
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_exception(AbsentError())

    async def _wait(self) -> Instance:
        served = self.served
        if not served:
            self.missed()
            if not self.coming:
                raise AbsentError
        if len(self._line) >= LONGEST_LINE:
            raise BusyError
        waiter: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        self.used = time.monotonic()
        try:
            return await self._turn(waiter, served)
        except BaseException:
            # It may have been given a turn in the very moment in which it went away.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.free(waiter.result())
            raise
        finally:
            if waiter in self._line:
                self._line.remove(waiter)

    async def _turn(self, waiter: asyncio.Future[Instance], served: bool) -> Instance:
        while True:
            await asyncio.wait((waiter,), timeout=self.settings.queue_wait if served else START_WAIT)
            if waiter.done():
                return waiter.result()
            if not served:
                raise AbsentError
            served = self.served
            if served:
                raise BusyError  # else all of them died meanwhile, and new ones are on their way

    def _roomiest(self) -> Instance | None:
        best = None
        for instance in self.instances:
            if instance.ready and instance.in_flight < instance.limit:
                if instance.in_flight == 0:
                    return instance
                if best is None or instance.in_flight < best.in_flight:
                    best = instance
        return best
