"""The connections of one engine to its server."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from promptflow.llm.http import aiohttp
from promptflow.llm.network import behind_proxy, certificates
from serve.engines.remote_place import Place

CONNECT_SECONDS = 15.0
KEEP_SECONDS = 4.0  # uvicorn, and with it vLLM, closes after 5 what was not used; a request must not come just then
CLOSE_SECONDS = 5.0
TRIES = 5
LOOKS = 4  # in the time that a server may be silent


@dataclass
class Used:
    """The connection of one request: whether it had another one before."""

    again: bool = False


async def _note_again(session: Any, trace: Any, params: Any) -> None:
    trace.trace_request_ctx.again = True


class Sessions:
    """A pool per event loop, which ends with its loop or with the engine."""

    def __init__(self, place: Place, silence: float) -> None:
        self.place = place
        self.silence = silence
        self._noted = aiohttp.TraceConfig()
        self._noted.on_connection_reuseconn.append(_note_again)
        self._open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession]
        self._open = weakref.WeakKeyDictionary()
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[Any, None]]
        self._keepers = weakref.WeakKeyDictionary()

    async def send(self, method: str, url: str, data: bytes | None) -> aiohttp.ClientResponse:
        """The answer to a request, once it has begun. A redirect is not followed: it would take the key to a place that
        nobody named."""
        session = await self._get()
        for tries_left in reversed(range(TRIES)):
            used = Used()
            try:
                async with asyncio.timeout(self.silence):
                    return await session.request(method, url, data=data, allow_redirects=False, trace_request_ctx=used)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # Closed by the server in the moment that it was used again: the request has reached nobody.
                if not used.again or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _get(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._open.get(loop)
        if session is None or session.closed:
            keeper = self._keep()
            session = await anext(keeper)
            self._open[loop], self._keepers[loop] = session, keeper
        return session

    async def _keep(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        # A generator, because a loop that ends closes its async generators: nobody else tells that it is time.
        loop = asyncio.get_running_loop()
        session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self.place.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            trace_configs=[self._noted],
            # What listens on this machine is not asked through a proxy, which would look for it on its own.
            trust_env=behind_proxy() and not self.place.on_this_machine,
        )
        try:
            yield session
        finally:
            self._open.pop(loop, None)
            self._keepers.pop(loop, None)
            await session.close()

    def _connector(self) -> aiohttp.BaseConnector:
        if self.place.socket:
            return aiohttp.UnixConnector(self.place.socket, limit=0, keepalive_timeout=KEEP_SECONDS)
        return aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_SECONDS, ssl=certificates())

    def close(self) -> None:
        """Close all, from any thread; what is in the works on them breaks off."""
        for loop, keeper in list(self._keepers.items()):
            if not loop.is_running():
                continue  # it has closed its own, or will
            closing = asyncio.run_coroutine_threadsafe(keeper.aclose(), loop)
            if loop is not _running():
                closing.result(CLOSE_SECONDS)


@contextmanager
def watched(response: aiohttp.ClientResponse, silence: float) -> Iterator[None]:
    """Within it, no reader of the answer waits for ever: not for a server that is silent for so many seconds, and not
    for a connection that is gone. aiohttp (3.14) closes one whose chunks cannot be read any more in the middle of a
    body, and tells nobody; and its own timeout for reads sets a timer anew with every packet."""
    loop, content = asyncio.get_running_loop(), response.content
    heard, since = content.total_bytes, loop.time()
    timer: asyncio.TimerHandle | None = None

    def end(error: Exception) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(error)

    def gone(closed: asyncio.Future[None]) -> None:
        closed.exception()  # looked at
        end(aiohttp.ClientPayloadError("the connection was closed"))

    def look() -> None:
        nonlocal heard, since, timer
        if content.total_bytes != heard:
            heard, since = content.total_bytes, loop.time()
        elif loop.time() - since >= silence:
            return end(TimeoutError())
        timer = loop.call_later(silence / LOOKS, look)

    look()
    connection = response.connection
    closed = None if connection is None or connection.protocol is None else connection.protocol.closed
    if closed is not None:
        closed.add_done_callback(gone)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        if closed is not None:
            closed.remove_done_callback(gone)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
