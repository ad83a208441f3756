"""Copies of requests for deployments that are tried out: sent after the answer, and nobody waits for theirs."""

from __future__ import annotations

import asyncio

from serve.gateway.figures import Figures
from serve.gateway.forward import Answered, Ask, Forward
from serve.gateway.refusals import Refusal
from serve.gateway.route import Route
from serve.gateway.wire import LostError

AT_ONCE = 64  # copies that are under way; a request that comes then gets none


class Mirrors:
    """The copies that are under way."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, route: Route, ask: Ask) -> None:
        for name in route.mirror.pick():
            if len(self._tasks) >= AT_ONCE or name not in route.lanes:
                self.figures.mirrored[route.name, name, "dropped"] += 1
                continue
            task = asyncio.create_task(self._copy(route, name, ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _copy(self, route: Route, name: str, ask: Ask) -> None:
        answered = Answered()
        try:
            await Forward(ask, route.lanes[name], name, _nowhere, [], answered).run()
            outcome = "answered" if answered.status < 400 else "failed"
        except (Refusal, LostError):
            outcome = "failed"
        self.figures.mirrored[route.name, name, outcome] += 1


async def _nowhere(message: object) -> None:
    """Where the answers of copies go."""
