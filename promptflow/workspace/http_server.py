"""What every server of ours starts with: a socket, and a uvicorn that says when it answers and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from promptflow.exceptions import UserErrorException

BACKLOG = 2048  # connections that wait until they are taken


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes requests at an address, which is nobody else's from now on; port 0 is a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not turn Nagle's algorithm off, and every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Not only bound: until one of them listens, several processes can have the same address, and uvloop does not
        # tell those that come too late.
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserErrorException(f"Cannot listen on {host}:{port}: {reason}.", hint="choose another --port") from error
    return listener


class HttpServer(uvicorn.Server):
    """Says when it answers, and takes SIGINT and SIGTERM as a normal end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again afterwards, which would end the process before it has tidied up.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.on_signal)
        yield

    def on_signal(self) -> None:
        """Asked to end: no new requests, and those in the works are waited for."""
        self.should_exit = True
