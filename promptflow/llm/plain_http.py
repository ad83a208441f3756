"""A minimal HTTP/1.1 client for models on plain ``http://``, which are near: on this machine, in this network.

There aiohttp takes more CPU for a call than all the rest of a node; see benchmarks/flow_serve.py. Answers come whole.
What is encrypted, streamed, or goes by a proxy is asked through `promptflow.llm.pool`.
"""

from __future__ import annotations

import asyncio
import functools
import re
import zlib
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from promptflow.llm.network import behind_proxy
from promptflow.llm.per_loop import PerLoop

IDLE_SECONDS = 15.0  # less than servers keep a connection that is not used
_PLAIN = re.compile(r"http://[\w.\-]+(:\d+)?(/[\w.\-~/:@!$&'()*+,;=%]*)?(\?[\w.\-~/:@!$&'()*+,;=%?]*)?", re.ASCII)
_BREAK = re.compile(r"[\r\n\0]")


class UnreachableError(ConnectionError):
    """There was no connection."""


class BrokenError(ConnectionError):
    """The connection ended before the answer did."""


class TooLongError(Exception):
    """The answer is longer than was to be read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads, and the beginnings of requests to it."""

    host: str
    port: int
    request: bytes


@dataclass(slots=True)
class Answer:
    """Header names are in lower case. Of an error there is no more than the beginning of its ``body``."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, seconds without news, seconds for all of it; bytes of an answer and of an error."""

    connect: float
    silence: float
    whole: float | None
    answer: int
    error: int


@functools.lru_cache(maxsize=256)
def place_of(method: str, url: str) -> Place | None:
    """None for a URL that is not this client's."""
    if not _PLAIN.fullmatch(url):
        return None
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:  # beyond 65535
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: identity\r\n"
    return Place(parts.hostname or "", port, head.encode())


async def direct() -> Connections | None:
    """The connections of the running loop; None where a proxy is asked for everything."""
    connections = await _connections.get()
    return None if connections.proxied else connections


class Connections:
    """As many as there are requests; those without one are kept for a while."""

    def __init__(self) -> None:
        self.proxied, self.closed = behind_proxy(), False
        self._loop = asyncio.get_running_loop()
        self._idle: defaultdict[tuple[str, int], deque[_Connection]] = defaultdict(deque)
        self._busy: set[_Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def ask(self, place: Place, headers: Mapping[str, str], body: bytes | None, limits: Limits) -> Answer:
        """One request and its whole answer. Raises UnreachableError, BrokenError, TooLongError, TimeoutError, and
        ValueError for headers that are none."""
        text = _request(place, headers, body)
        async with asyncio.timeout(limits.whole):
            connection = self._free(place) or await self._connect(place, limits.connect)
            self._busy.add(connection)
            try:
                answer = await connection.ask(text, limits)
                self._give_back(place, connection)
                return _unpacked(answer, limits)
            finally:
                self._busy.discard(connection)
                if not connection.is_idle:
                    connection.close()

    async def close(self) -> None:
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in [*self._busy, *(one for kept in self._idle.values() for one in kept)]:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next round

    def _free(self, place: Place) -> _Connection | None:
        kept = self._idle.get((place.host, place.port))
        while kept:
            connection = kept.pop()
            if not connection.closed:
                connection.is_idle = False
                return connection
        return None

    async def _connect(self, place: Place, seconds: float) -> _Connection:
        try:
            async with asyncio.timeout(seconds):
                _, connection = await self._loop.create_connection(_Connection, place.host, place.port)
        except TimeoutError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
            raise UnreachableError(f"Cannot connect to {place.host}:{place.port}: {why}") from error
        return connection

    def _give_back(self, place: Place, connection: _Connection) -> None:
        if not connection.is_reusable:
            return
        connection.is_idle, connection.idle_since = True, self._loop.time()
        self._idle[place.host, place.port].append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was not used for long; what was used last is at the end."""
        oldest = self._loop.time() - IDLE_SECONDS
        for place, kept in list(self._idle.items()):
            while kept and (kept[0].closed or kept[0].idle_since <= oldest):
                kept.popleft().close()
            if not kept:
                del self._idle[place]
        self._sweeper = self._loop.call_later(IDLE_SECONDS, self._sweep) if self._idle else None


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.closed = self.is_idle = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Answer] | None = None

    @property
    def is_reusable(self) -> bool:
        return self._keep and not self.closed and not self._transport.get_write_buffer_size()

    async def ask(self, request: bytes, limits: Limits) -> Answer:
        self._answer = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._limits = limits
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = self._status = 0
        self._keep = False
        self._transport.write(request)
        async with asyncio.timeout(limits.silence) as self._silence:
            return await self._answer

    def close(self) -> None:
        self.closed = True
        self._transport.abort()

    # what the transport tells
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self.close()  # nothing was asked: whatever it says belongs to no request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keep = False
            self._fail(BrokenError(f"The answer is no HTTP: {error}"))
        if not self._ended and not self._silence.expired():
            self._silence.reschedule(self._loop.time() + self._limits.silence)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._ended:
            return
        if error is None and self._status and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self._end()  # such an answer ends with its connection
        else:
            self._fail(BrokenError(str(error or "") or "Server disconnected"))

    # what the parser tells
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._ended:
            self._keep = False  # more than one answer to one request
        else:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and its like: the answer is still to come
            self._headers.clear()
            return
        self._status = status
        if status < 300 and int(self._headers.get("content-length") or 0) > self._limits.answer:
            self._fail(TooLongError())

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._status >= 300 and self._size >= self._limits.error:
            self._end()
        elif self._size > self._limits.answer:
            self._fail(TooLongError())

    def on_message_complete(self) -> None:
        if self._status and not self._ended:
            self._keep = self._parser.should_keep_alive()
            self._end()

    @property
    def _ended(self) -> bool:
        return self._answer is None or self._answer.done()

    def _end(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._status, self._headers, b"".join(self._chunks)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _request(place: Place, headers: Mapping[str, str], body: bytes | None) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if len(_BREAK.findall(text)) != 2 * len(headers):
        raise ValueError("A header holds a line break.")
    length = b"\r\n" if body is None else b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return place.request + text.encode() + length


def _unpacked(answer: Answer, limits: Limits) -> Answer:
    """Of those that are packed although nobody asked for it."""
    if answer.headers.get("content-encoding", "identity").lower() not in ("gzip", "x-gzip", "deflate"):
        return answer
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # of gzip or zlib, whichever it is
    try:
        body = unpacking.decompress(answer.body, limits.answer + 1)
    except zlib.error as error:
        raise BrokenError(f"The answer cannot be unpacked: {error}") from error
    if len(body) > limits.answer:
        raise TooLongError
    return Answer(answer.status, answer.headers, body)


_connections = PerLoop(Connections, Connections.close, lambda connections: connections.closed)
