"""All deployments of a server, and the instances of each."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Mapping

from serve.endpoints.records import Deployment
from serve.gateway.figures import Figures
from serve.gateway.lane import Lane
from serve.supervisor.fleet import Fleet
from serve.supervisor.places import Places

Name = tuple[str, str]  # endpoint, deployment


class Supervisor:
    """Instances end with this process, however it ends: they hold the other end of a pipe of it."""

    def __init__(self, places: Places, figures: Figures) -> None:
        self.places, self.figures = places, figures
        self.fleets: dict[Name, Fleet] = {}
        self._numbers = itertools.count()
        self._leaving: dict[Fleet, asyncio.Task[None]] = {}
        self._lifeline, self._held = os.pipe()

    def apply(self, deployments: Iterable[Deployment]) -> Mapping[Name, Lane]:
        """Make them run; those that are not among them have to be without traffic by now, and end."""
        wanted = {(one.endpoint, one.name): one for one in deployments}
        for name, deployment in wanted.items():
            fleet = self.fleets.get(name)
            if fleet is None:
                self.fleets[name] = Fleet(deployment, self.places, self._next, self._lifeline, self.figures)
            else:
                fleet.change(deployment)
        return {name: self.fleets[name].lane for name in wanted}

    def drop(self, deployments: Iterable[Name]) -> None:
        """End those that are not among ``deployments``. Called once no route leads to them."""
        for name in self.fleets.keys() - {*deployments}:
            fleet = self.fleets.pop(name)
            self._leaving[fleet] = asyncio.create_task(self._stop(fleet))

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(fleet.kill() for fleet in (*self.fleets.values(), *self._leaving)))
        os.close(self._held)
        os.close(self._lifeline)
        self.places.close()

    async def _stop(self, fleet: Fleet) -> None:
        await fleet.stop()
        self._leaving.pop(fleet, None)

    def _next(self) -> int:
        return next(self._numbers)
