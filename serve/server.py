"""A process that answers HTTP with models: when it is ready, when it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from promptflow.workspace.atomic import write_whole
from promptflow.workspace.http_server import HttpServer
from serve.openai.app import OpenAIApp

KEEP_ALIVE_SECONDS = 75  # longer than most clients keep a connection that they do not use
GRACE_SECONDS = 5  # so long requests in the works have, once it is told to stop


class Server(HttpServer):
    """Stops when nobody has asked for ``idle`` seconds."""

    def __init__(self, app: OpenAIApp, ready: Callable[[], None], idle: float) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config, ready)
        self.app, self.idle = app, idle

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter)
        return stop or 0 < self.idle <= self.app.activity.idle_seconds()


def serve(
    app: OpenAIApp,
    listener: socket.socket,
    *,
    preload: Sequence[str] = (),
    ready: Callable[[], None] = lambda: None,
    port_file: Path | None = None,
    idle: float = 0,
) -> None:
    """Answer until stopped, or until nobody asked for ``idle`` seconds; models in ``preload`` are there from the start.
    ``port_file`` gets the port once requests are answered, and is removed at the end."""

    def told() -> None:
        if port_file is not None:
            write_whole(port_file, str(listener.getsockname()[1]).encode())
        ready()

    async def run() -> None:
        router = app.service.router
        try:
            await router.open()
            for name in preload:
                await router.preload(name)
            await Server(app, told, idle).serve([listener])
        finally:
            await router.close()

    try:
        asyncio.run(run())
    finally:
        listener.close()
        if port_file is not None:
            port_file.unlink(missing_ok=True)
