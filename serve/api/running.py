"""What the routes of the REST API share: the server that they are a part of, and its changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Path

from promptflow.workspace import Workspace
from serve.endpoints.store import EndpointStore

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
JobName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]
T = TypeVar("T")


class Running(Protocol):
    """What the API asks of the server that it is a part of."""

    workspace: Workspace
    store: EndpointStore
    key: str

    async def reload(self) -> int: ...

    def deployment_status(self, endpoint: str, deployment: str) -> dict[str, Any] | None: ...


async def changed(server: Running, change: Callable[[], T]) -> T:
    """Make a change, and put it in force."""
    result = await asyncio.to_thread(change)
    await server.reload()
    return result
