"""A process that serves one flow: its socket, its signals, when it is ready, when it ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from promptflow.exceptions import UserErrorException
from promptflow.workspace.http_server import HttpServer

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75  # longer than most clients and proxies keep a connection that they do not use
GRACE_SECONDS = 20  # so long requests in the works have, once the process is told to end

SECOND_SIGNAL_SECONDS = 0.5  # a shell may send one Ctrl-C twice; who means it twice is slower

logger = logging.getLogger(__name__)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens; port 0 takes a free one. ``shared`` sockets on one port divide its connections."""
    # localhost is the IPv4 one: what was told to connect to 127.0.0.1 must find it
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With the protocol left at 0 asyncio does not turn Nagle's algorithm off, and every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "another program has the port: --port takes another, and 0 a free one" if taken else ""
        raise UserErrorException(f"Cannot listen on {host}:{port}: {reason}.", hint=hint) from error
    return listener


def divided(listener: socket.socket, count: int) -> list[socket.socket]:
    """A socket for each of ``count`` processes in place of ``listener``, which is closed.

    On one socket, the process that wakes first takes all connections that have come. Linux divides them over several;
    elsewhere all processes get the same one. Whoever calls keeps them open: while a process is replaced, its
    connections wait for the next.
    """
    if sys.platform != "linux":
        return [listener] * count
    host, port = listener.getsockname()[:2]
    listener.close()  # it was not shared, so the port was nobody else's
    return [listen(host, port, shared=True) for _ in range(count)]


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(HttpServer):
    """Says at a signal what it waits for, and at a second one waits no longer."""

    def __init__(self, app: Any, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config, ready)
        self._told = 0.0

    def on_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self.should_exit:
            self.should_exit, self._told = True, now
            if count := len(self.server_state.tasks):
                logger.warning("%d requests are in the works: %d seconds for them, or once more", count, GRACE_SECONDS)
        elif now - self._told > SECOND_SIGNAL_SECONDS:
            self.force_exit = True


def serve(app: Any, listener: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Answer until a signal says to stop."""
    server = Server(app, ready)
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve([listener]))
    finally:
        listener.close()
