"""A minimal HTTP/1.1 client for the instances' sockets: one request at a time on a connection, bodies as they come.

aiohttp's client took more CPU per request than all the rest of the gateway together; see benchmarks/gateway_bench.py.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import httptools

CONNECT_SECONDS = 5.0  # to a machine; one that lost its power does not refuse
UNHEARD_MS = 5000  # that what was sent there may stay without an acknowledgement
HIGH_WATER = 256 * 1024  # bytes of an answer that wait here before the instance is asked to pause

Headers = list[tuple[bytes, bytes]]


class LostError(ConnectionError):
    """The instance hung up. ``begun``: part of its answer had come; ``sent``: it may have got the request."""

    def __init__(self, begun: bool, sent: bool = True) -> None:
        super().__init__("the instance hung up")
        self.begun, self.sent = begun, sent


@dataclass(frozen=True, slots=True)
class Address:
    """Of an instance on another machine, and the key that it wants to see."""

    host: str
    port: int
    key: str = field(repr=False)


class Connection(asyncio.Protocol):
    """One connection to an instance. :meth:`ask`, then :meth:`read` until it gives nothing more.

    ``shown`` is a line that goes into the head of every request: the key, where one is wanted.
    """

    def __init__(self, shown: bytes = b"") -> None:
        self._shown = shown
        self.status = 0
        self.headers: Headers = []
        self.closed = False
        self.cut_off = False  # the request was not sent to its end: what comes after would be taken for the rest of it
        self._parser: Any = None
        self._transport: Any = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._headed = self._complete = False
        self._keep = True
        self._reading_paused = self._writing_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it: the answer has come whole, and neither side wants to close."""
        return self._complete and self._keep and not self.closed and not self.cut_off

    @property
    def answering(self) -> bool:
        """Whether the head of the answer is there."""
        return self._headed

    @property
    def complete(self) -> bool:
        """Whether all of the answer has come; what was not read yet still waits here."""
        return self._complete

    def ask(self, head: bytes, body: bytes = b"") -> None:
        """Send a request, or the first part of one."""
        self.status, self.headers = 0, []
        self._chunks, self._size = [], 0
        self._headed = self._complete = False
        self._parser = httptools.HttpResponseParser(self)
        if self.closed:
            raise LostError(begun=False)
        if self._shown:
            head = head.replace(b"\r\n", self._shown, 1)
        self._transport.write(head + body)

    async def write(self, data: bytes) -> None:
        """More of the request's body; waits while the instance reads slower than the client sends."""
        if self.closed:
            raise LostError(self._headed)
        self._transport.write(data)
        if self._writing_paused:
            self._drained = self._loop.create_future()
            await self._drained

    async def head(self) -> None:
        """Wait for ``status`` and ``headers``."""
        while not self._headed:
            await self._news()

    async def read(self) -> bytes:
        """The next piece of the answer; nothing at its end."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._news()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._size = [], 0
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Hang up at once: the instance drops what it was doing for us."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        if self.closed:
            raise LostError(self._headed)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tell(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # what the transport tells

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self._shown and hasattr(socket, "TCP_USER_TIMEOUT"):
            own = transport.get_extra_info("socket")
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._complete:
            self.close()  # nothing was asked: whatever it says belongs to no request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._tell()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # what the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # 100 Continue and its like: the answer is still to come
            self.headers = []
            return
        self._keep = self._parser.should_keep_alive()
        self._headed = True

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete = True


async def connect(place: str | Address) -> Connection:
    """A connection to a socket by its path, or to another machine; LostError if nobody listens there."""
    loop = asyncio.get_running_loop()
    try:
        if isinstance(place, str):
            _, connection = await loop.create_unix_connection(Connection, place)
            return connection
        shown = f"\r\nauthorization: Bearer {place.key}\r\n".encode()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(lambda: Connection(shown), place.host, place.port)
            return connection
    except OSError:  # TimeoutError, too
        raise LostError(begun=False, sent=False) from None
