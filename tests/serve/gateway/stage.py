"""A gateway on a real port, before instances that are ASGI applications on real sockets, all on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from promptflow.workspace.http_server import HttpServer, listen
from serve.endpoints.records import Endpoint, Keys
from serve.endpoints.spec import Collector, RequestSettings
from serve.gateway.capture import Capture
from serve.gateway.door import Door
from serve.gateway.gateway import MAX_BODY, Gateway
from serve.gateway.instance import Instance
from serve.gateway.lane import Lane
from serve.gateway.paths import locate
from serve.gateway.protocol import Protocol
from serve.gateway.route import Route
from serve.gateway.traffic import Mirror, Split

KEYS = Keys("first-key", "second-key")
KEY = {"Authorization": "Bearer first-key"}
SIGNING = "signing-key"

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Echo:
    """Answers with its name; keeps what it was asked. ``hold`` stops it until it is set."""

    name: str = "blue"
    seen: list[dict[str, Any]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    gone: int = 0  # requests whose caller hung up

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.seen.append({"path": scope["path"], "method": scope["method"], "headers": headers, "body": body})
        if self.hold is not None and not await self._held(receive):
            return
        content = self.name.encode()
        start = [(b"content-length", str(len(content)).encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": start})
        await send({"type": "http.response.body", "body": content})

    async def _held(self, receive: Any) -> bool:
        assert self.hold is not None
        held, gone = asyncio.ensure_future(self.hold.wait()), asyncio.ensure_future(receive())
        await asyncio.wait((held, gone), return_when=asyncio.FIRST_COMPLETED)
        held.cancel(), gone.cancel()
        if not self.hold.is_set():
            self.gone += 1
        return self.hold.is_set()


class Stage:
    """What a test plays with; made by :func:`stage`."""

    def __init__(self, gateway: Gateway, folder: Path, session: aiohttp.ClientSession, stack: Any) -> None:
        self.gateway, self.folder, self.session, self.stack = gateway, folder, session, stack
        self.lanes: dict[str, Lane] = {}
        self.captures: dict[str, Capture] = {}
        self.port = 0
        self.server: Any = None

    def lane(self, deployment: str, **settings: Any) -> Lane:
        lane = self.lanes[deployment] = Lane(RequestSettings(**{"concurrency": 4, **settings}))
        return lane

    async def instance(self, deployment: str, app: Application) -> Instance:
        """Another ready instance of a deployment."""
        lane = self.lanes.get(deployment) or self.lane(deployment)
        path = self.folder / f"{deployment}-{len(lane.instances)}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        await self.stack.enter_async_context(serving(app, listener))
        instance = Instance(path.stem, str(path))
        lane.add(instance)
        instance.ready = True
        return instance

    def capture(self, deployment: str, **settings: Any) -> Capture:
        capture = self.captures[deployment] = Capture("shop", deployment, Collector(**settings))
        return capture

    def open(self, traffic: Mapping[str, int], mirror: Mapping[str, int] | None = None, **endpoint: Any) -> Route:
        """Put an endpoint ``shop`` in force."""
        record = Endpoint("shop", traffic=dict(traffic), mirror=dict(mirror or {}), **endpoint)
        door = Door(record, KEYS, SIGNING)
        route = Route(record, door, Split(traffic), Mirror(mirror or {}), self.lanes, self.captures)
        self.gateway.routes = {"shop": route}
        return route

    async def ask(
        self, path: str = "/endpoints/shop/score", data: Any = b"{}", method: str = "POST", **headers: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        every = {**KEY, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, url, data=data, headers=every) as answer:
            return answer.status, await answer.read(), answer.headers

    async def raw(self, data: bytes, wait: float = 5.0) -> bytes:
        """What comes back on a connection of its own until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def stage(max_body: int = MAX_BODY) -> AsyncIterator[Stage]:
    gateway = Gateway(max_body=max_body)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        target = locate(scope["raw_path"])
        assert target is not None, scope["path"]
        await gateway.answer(target, scope, receive, send)

    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made = Stage(gateway, folder, session, stack)
        listener = listen("127.0.0.1", 0)
        made.port = listener.getsockname()[1]
        made.server = await stack.enter_async_context(serving(app, listener, http=Protocol))
        stack.push_async_callback(gateway.mirrors.close)
        yield made
        for lane in made.lanes.values():
            for instance in list(lane.instances):
                lane.remove(instance)


@contextlib.asynccontextmanager
async def serving(app: Application, listener: socket.socket, **values: Any) -> AsyncIterator[HttpServer]:
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1, **values
    )
    up = asyncio.Event()
    server = HttpServer(config, up.set)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve([listener]))
    await up.wait()
    try:
        yield server
    finally:
        server.should_exit = True
        await task
        listener.close()
