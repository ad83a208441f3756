"""uvicorn's HTTP protocol, with the limits that it lacks: time and size of headers, time between pieces of a body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
BODY_SECONDS = 20.0  # between two pieces of a body
TAKE_SECONDS = 60.0  # that a client may take nothing of an answer that waits for it
HEADER_BYTES = 64 * 1024
CONNECTION = "pf.connection"  # where the application finds this in its scope


class Protocol(HttpToolsProtocol):
    """``on_lost`` is called once if the client hangs up: cheaper than a task that waits for it."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.on_lost: Callable[[], None] | None = None
        self._deadline = 0.0  # 0: none
        self._stuck = 0.0  # since when the client takes nothing; 0: it does
        self._in_headers = True
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.time() + HEADER_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        told, self.on_lost = self.on_lost, None
        if told is not None:
            told()

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            if not self._header_bytes:
                self._deadline = self.loop.time() + HEADER_SECONDS
            self._header_bytes += len(data)
        elif self._deadline:
            self._deadline = self.loop.time() + BODY_SECONDS
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._deadline = self.loop.time() + BODY_SECONDS
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_headers = True
        self._header_bytes = 0
        self._deadline = 0.0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck = 0.0

    def check(self, now: float) -> None:
        """Hang up on a client that takes longer than it may."""
        if self._stuck and now > self._stuck + TAKE_SECONDS:
            self.transport.abort()
            return
        if not self._deadline or now < self._deadline or self.flow.read_paused:
            return
        if self._in_headers:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        # An earlier request of this connection may not be answered yet: nothing may come between.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def check_all(connections: Iterable[Any], now: float) -> None:
    """Called about once a second."""
    for connection in list(connections):
        if isinstance(connection, Protocol):
            connection.check(now)
