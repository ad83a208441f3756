"""A process that answers HTTP: sockets, signals, when it is ready, when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from promptflow.exceptions import UserErrorException
from promptflow.workspace.atomic import write_whole
from serve.openai.app import OpenAIApp

KEEP_ALIVE_SECONDS = 75  # longer than most clients keep a connection that they do not use
GRACE_SECONDS = 5  # so long requests in the works have, once it is told to stop


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not turn Nagle's algorithm off, and every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserErrorException(f"Cannot listen on {host}:{port}: {reason}.") from error
    return listener


class Server(uvicorn.Server):
    """Says when it is ready, stops when idle, and ends a stop by signal as a normal end."""

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
        super().__init__(config)
        self.app, self.ready, self.idle = app, ready, idle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter)
        return stop or 0 < self.idle <= self.app.activity.idle_seconds()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again afterwards, which would end the process before it has tidied up.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, setattr, self, "should_exit", True)
        yield


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
