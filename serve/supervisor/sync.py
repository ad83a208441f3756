"""Brings what runs in line with what the workspace's store says, whenever that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from promptflow.exceptions import PromptflowException
from serve.endpoints.records import Deployment, Endpoint, Keys
from serve.endpoints.store import EndpointStore, State
from serve.gateway.capture import Capture
from serve.gateway.door import Door
from serve.gateway.gateway import Gateway
from serve.gateway.lane import Lane
from serve.gateway.route import Route
from serve.gateway.traffic import Mirror, Split
from serve.scorers.collecting import left_to_gateway
from serve.supervisor.supervisor import Name, Supervisor

POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Sync:
    """``counter`` is of the state that is in force."""

    def __init__(self, store: EndpointStore, gateway: Gateway, supervisor: Supervisor) -> None:
        self.store, self.gateway, self.supervisor = store, gateway, supervisor
        self.counter = -1
        self.captures: dict[Name, Capture] = {}
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Look at the store from time to time, until cancelled."""
        told = ""  # once for each reason: it may take days until somebody mends it
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if await asyncio.to_thread(self.store.counter) != self.counter:
                    await self.reload()
                told = ""
            except PromptflowException as error:
                if told != str(error):
                    logger.warning("the store cannot be read, all stays as it is: %s", error)
                told = str(error)
            except Exception:
                logger.exception("looking at the store failed; all stays as it is")

    async def reload(self) -> int:
        """Put the store's state in force."""
        async with self._turn:
            stored = await asyncio.to_thread(self.store.state)
            self._apply(stored)
            self.counter = stored.counter
            return stored.counter

    def _apply(self, stored: State) -> None:
        lanes = self.supervisor.apply(stored.deployments)
        before = self.gateway.routes
        captures = {(one.endpoint, one.name): self._capture(one) for one in stored.deployments if one.spec.collector}
        self.captures = captures
        routes = {
            endpoint.name: _route(endpoint, stored.keys[endpoint.name], lanes, captures, before.get(endpoint.name))
            for endpoint in stored.endpoints
        }
        self.gateway.routes = routes
        self.supervisor.drop(lanes)
        self.gateway.figures.forget(before.keys() - routes.keys())

    def _capture(self, deployment: Deployment) -> Capture:
        settings = left_to_gateway(deployment.spec)
        assert settings is not None
        known = self.captures.get((deployment.endpoint, deployment.name))
        if known is not None and known.settings == settings:
            return known
        return Capture(deployment.endpoint, deployment.name, settings)


def _route(
    endpoint: Endpoint,
    keys: tuple[Keys, str],
    lanes: Mapping[Name, Lane],
    captures: dict[Name, Capture],
    before: Route | None,
) -> Route:
    """What has not changed goes on where it was: the turns of the split, and what was used of the limits."""
    split, mirror, door = Split(endpoint.traffic), Mirror(endpoint.mirror), Door(endpoint, *keys)
    if before is not None:
        split = before.split if before.split.shares == split.shares else split
        mirror = before.mirror if before.mirror.shares == mirror.shares else mirror
        door = door.like(before.door)
    return Route(
        endpoint,
        door,
        split,
        mirror,
        {name: lane for (owner, name), lane in lanes.items() if owner == endpoint.name},
        {name: capture for (owner, name), capture in captures.items() if owner == endpoint.name},
    )
