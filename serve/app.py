"""The server of a workspace: gateway, REST API and supervisor in one process."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from catalog.assets import LOCK, Asset, Assets
from promptflow._version import __version__
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import BACKLOG, HttpServer
from promptflow.workspace.optional import need
from serve.endpoints.store import EndpointStore
from serve.gateway.accesslog import AccessLog
from serve.gateway.aside import aside
from serve.gateway.capture import Capture
from serve.gateway.collect import Writer
from serve.gateway.gateway import MAX_BODY, Gateway
from serve.gateway.paths import locate
from serve.gateway.protocol import Protocol, check_all
from serve.gateway.steady import steady
from serve.lasting import lasting
from serve.metrics import CONTENT_TYPE
from serve.scorers.collecting import folders
from serve.supervisor.beacon import lit, only_server, server_key
from serve.supervisor.places import Places
from serve.supervisor.supervisor import Supervisor
from serve.supervisor.sync import Sync

KEEP_ALIVE_SECONDS = 75
COLLECTED_SECONDS = 2.0  # between looks for what scripts have collected
GRACE_SECONDS = 8  # that requests in the works have, once the server is told to stop
JSON = b"application/json"
OPEN_INFERENCE: dict[str, dict[str, Any]] = {  # what its clients ask of a server as a whole
    "/v2": {"name": "promptflow", "version": "2", "extensions": ["binary_tensor_data"]},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
}
LOOPBACK = ("127.0.0.1", "::1")

logger = logging.getLogger(__name__)


class ServerApp:
    """What answers on the server's port. Data plane first, and bare; the REST API is imported when it is asked for."""

    def __init__(self, workspace: Workspace, *, max_body: int = MAX_BODY) -> None:
        self.workspace = workspace
        self.store = EndpointStore(workspace)
        self.access = AccessLog(workspace.home / "endpoints" / "logs" / "access.log")
        self.gateway = Gateway(self.access, max_body)
        self.places = Places(workspace.home)
        self.supervisor = Supervisor(self.places, self.gateway.figures)
        self.sync = Sync(self.store, self.gateway, self.supervisor)
        self.writer = Writer(workspace.home / "endpoints" / "collected", self._collected)
        self.key = server_key(workspace)
        self._rest: Any = None
        self._traces: Any = None
        self._service: Any = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self.places.clear()
        await self.sync.reload()
        beside: dict[str, Callable[[], Awaitable[None]]] = {
            "looking at the store": self.sync.run,
            "writing the access log": self.access.run,
            "writing captured requests": lambda: self.writer.run(lambda: self.sync.captures.values()),
            "looking for collections": self._find_collected,
        }
        self._tasks = [asyncio.create_task(lasting(what, work)) for what, work in beside.items()]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gateway.mirrors.close()
        await self.supervisor.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        target = locate(scope["raw_path"])
        if target is not None:
            return await self.gateway.answer(target, scope, receive, send)
        match scope["path"]:
            case "/health":
                return await _answer(send, 200, {"status": "Healthy"})
            case "/metrics":
                return await self._metrics(scope, send)
            case "/api/reload" if scope["method"] == "POST":
                if not self.is_owner(scope):
                    return await _answer(send, 401, _error("Unauthorized", "This needs the workspace's key."))
                return await self._answer_reload(send)
        await self._others(scope, receive, send)

    async def _answer_reload(self, send: Any) -> None:
        try:
            counter = await self.reload()
        except PromptflowException as error:  # who made a change is told why it has no effect
            hint = f" ({error.hint})" if error.hint else ""
            return await _answer(send, 500, _error(type(error).__name__, f"{error}{hint}"))
        await _answer(send, 200, {"counter": counter})

    def is_owner(self, scope: Any) -> bool:
        """Whether a request shows the workspace's own key."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        return given[:7].lower() == b"bearer " and hmac.compare_digest(given[7:].strip(), self.key.encode())

    def _is_near(self, scope: Any) -> bool:
        """Whether a request comes from this machine, or shows the workspace's key."""
        client = scope.get("client")
        return (client is not None and client[0] in LOOPBACK) or self.is_owner(scope)

    async def _metrics(self, scope: Any, send: Any) -> None:
        if not self._is_near(scope):
            return await _answer(send, 401, _FROM_ELSEWHERE)
        text = self.gateway.figures.text(self.gateway.routes).encode()
        await _send(send, 200, CONTENT_TYPE, text)

    async def _others(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path.startswith("/api/"):
            if self._rest is None:
                # On a thread: importing FastAPI takes longer than a request may be late.
                self._rest = await asyncio.to_thread(_rest_app, self)
            await self._rest(scope, receive, send)
        elif path.startswith("/v1.0/"):
            if self._service is None:
                self._service = await asyncio.to_thread(_service_app, self)
            await self._service(scope, receive, send)
        elif path == "/heartbeat":
            await _answer(send, 200, {"promptflow": __version__})
        elif path == "/v1/models" and scope["method"] == "GET":
            await self._models(scope, send)
        elif path in OPEN_INFERENCE and scope["method"] == "GET":
            await _answer(send, 200, OPEN_INFERENCE[path])
        elif path == "/v1/traces" and not self._is_near(scope):
            await _answer(send, 401, _FROM_ELSEWHERE)
        elif path == "/v1/traces":
            if self._traces is None:
                self._traces = await asyncio.to_thread(_traces_app, self.workspace)
            await self._traces(scope, receive, send)
        else:
            reason = f"There is no {scope['method']} {path[:200]} here."
            # a client of the Open Inference Protocol takes a text, and stumbles over anything else
            await _answer(send, 404, {"error": reason} if path.startswith("/v2") else _error("NotFound", reason))

    async def _models(self, scope: Any, send: Any) -> None:
        """What OpenAI's clients list: the endpoints that this key opens."""
        routes = self.gateway.routes.values()
        found = [
            {"id": route.name, "object": "model", "created": 0, "owned_by": "endpoint"}
            for route in routes
            if route.door.opens_to(scope["headers"])
        ]
        if not found:
            return await _answer(send, 401, _error("Unauthorized", "This is no key of an endpoint."))
        await _answer(send, 200, {"object": "list", "data": found})

    async def _find_collected(self) -> None:
        """Scripts write collections themselves: each becomes a data asset when there is something in it."""
        told: set[Path] = set()
        while True:
            await asyncio.sleep(COLLECTED_SECONDS)
            for (endpoint, name), fleet in list(self.supervisor.fleets.items()):
                for collection, folder in folders(fleet.spec, self.writer.folder / endpoint / name).items():
                    if folder not in told and folder.is_dir() and fleet.spec.collector is not None:
                        told.add(folder)
                        capture = Capture(endpoint, name, fleet.spec.collector)
                        try:
                            await aside(self._collected, capture, collection, folder)
                        except Exception:
                            logger.exception("%s is not listed as data", folder)

    def _collected(self, capture: Capture, name: str, folder: Path) -> None:
        """The folder of a collection is a data asset, under the name that the YAML gives it."""
        collection = capture.settings.collections[name]
        called = collection.name or f"{capture.endpoint}-{capture.deployment}-{name}"
        details = {"endpoint": capture.endpoint, "deployment": capture.deployment, "collection": name}
        assets = Assets(self.workspace, "data")
        with self.workspace.db.write(lock=LOCK):
            if assets.find(called, collection.version or "1") is None:
                version = collection.version or "1"
                assets.add(Asset("data", called, version, "uri_folder", "", "place", 0, str(folder), details=details))

    async def reload(self) -> int:
        """Put the store's state in force."""
        return await self.sync.reload()

    def deployment_status(self, endpoint: str, deployment: str) -> dict[str, Any] | None:
        fleet = self.supervisor.fleets.get((endpoint, deployment))
        return fleet.status() if fleet is not None else None


def _rest_app(server: ServerApp) -> Any:
    from serve.api.rest import make_app  # brings FastAPI

    return make_app(server, __version__)


def _service_app(server: ServerApp) -> Any:
    from promptflow.service.app import make_app  # brings FastAPI

    return make_app(server.workspace, server.key, __version__)


def _traces_app(workspace: Workspace) -> Any:
    from promptflow.tracing.collector import make_app  # brings FastAPI

    return make_app(workspace)


def _listening(gateway: Gateway, host: str, port: int) -> contextlib.AbstractAsyncContextManager[int]:
    # Its handlers of forks look after threads that a child which execs at once does not have, and say so each time.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    need("grpc", extra="grpc")
    need("google.protobuf", extra="grpc")
    from serve.rpc.server import listening

    return listening(gateway, host, port)


class Server(HttpServer):
    """Looks after slow clients, too."""

    def __init__(self, app: ServerApp, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            log_level="error",  # what strangers send that is no HTTP would fill the disk otherwise
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
        super().__init__(config, ready)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            check_all(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def serve(
    workspace: Workspace,
    listener: socket.socket,
    *,
    max_body: int = MAX_BODY,
    grpc_port: int | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer until stopped, with a ``grpc_port`` there, too. UserErrorException if the workspace has a server
    already."""
    host, port = listener.getsockname()[:2]

    async def run() -> None:
        app = ServerApp(workspace, max_body=max_body)
        try:
            await app.open()
            async with contextlib.AsyncExitStack() as stack:
                grpc = 0
                if grpc_port is not None:
                    grpc = await stack.enter_async_context(_listening(app.gateway, host, grpc_port))

                def told() -> None:
                    ready(stack.enter_context(lit(workspace, host, port, grpc)).url)

                await Server(app, told).serve([listener])
        finally:
            await app.close()

    _allow_many_files()
    steady()
    with only_server(workspace.home), contextlib.closing(listener):
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where `promptflow[serve]` is installed: it takes less of a processor."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


def _allow_many_files() -> None:
    """Each client and each instance is a descriptor; many systems allow 1,024 unless they are asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _answer(send: Any, status: int, body: Any) -> None:
    await _send(send, status, JSON, orjson.dumps(body))


async def _send(send: Any, status: int, media: bytes, body: bytes) -> None:
    headers = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


_FROM_ELSEWHERE = _error("Unauthorized", "From another machine, this needs the workspace's key.")
