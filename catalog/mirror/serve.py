"""Serve the mirror of a workspace on a port, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from catalog.mirror.app import create_app
from catalog.mirror.zerocopy import ZeroCopyProtocol
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes requests at an address; port 0 is a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not turn Nagle's algorithm off, and small answers wait.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserErrorException(f"Cannot listen on {host}:{port}: {reason}.", hint="choose another --port") from error
    return listener


class _Server(uvicorn.Server):
    """Says when it answers, and takes a stop by signal as a normal end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, setattr, self, "should_exit", True)
        yield


def serve(workspace: Workspace, listener: socket.socket, ready: Callable[[], None], hosts: Sequence[str] = ()) -> None:
    """Answer requests until SIGINT or SIGTERM; ``ready`` is called when it does."""
    app = create_app(workspace, hosts=hosts)
    asyncio.run(_Server(server_config(app), ready).serve([listener]))


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves a mirror."""
    return uvicorn.Config(
        app,
        http=ZeroCopyProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
