"""Requests through aiohttp, with one connection pool per event loop: what is encrypted, streamed, or goes by a proxy.

aiohttp, because calls to a model are many and small: at 64 at once it costs a fifth of httpx's CPU per call. What goes
to plain ``http://`` and is answered whole has a still cheaper way, `promptflow.llm.plain_http`, which does without the
tenth of a second that aiohttp takes to be imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from promptflow.llm.failures import broken, no_connection, timed_out
from promptflow.llm.http import aiohttp
from promptflow.llm.network import CONNECT_SECONDS, READ_SECONDS, behind_proxy, certificates
from promptflow.llm.per_loop import PerLoop


async def session() -> aiohttp.ClientSession:
    """The pool of the running loop. It has no limit of connections: as many slots as requests."""
    return await _sessions.get()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, ssl=certificates()),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=behind_proxy(),
    )


_sessions = PerLoop(_session, aiohttp.ClientSession.close, lambda session: session.closed)


class Response:
    """An answer that has begun; all that is read may raise `Failure`. It belongs to the loop that asked."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.length: int = response.content_length or 0  # bytes, if it says so
        self.close, self.release = response.close, response.release

    async def more(self) -> bytes:
        """What has come of the body, or the next of it; nothing at its end."""
        # aiohttp's own limit is not enough: it ends with a connection whose chunks cannot be read any more, of which
        # it tells nobody who waits (seen with 3.14).
        with _named_failures():
            async with asyncio.timeout(READ_SECONDS):
                return await self._response.content.readany()

    async def beginning(self, most: int) -> bytes:
        """The first bytes of the body."""
        with _named_failures():
            return await self._response.content.read(most)


async def request(
    method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout: float | None
) -> Response:
    """One request and the beginning of its answer. Raises `Failure`."""
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS, sock_read=timeout or READ_SECONDS)
    pool = await session()
    with _named_failures():
        # Redirects are not followed: they would carry the key to another server.
        return Response(
            await pool.request(method, url, data=data, headers=headers, timeout=limits, allow_redirects=False)
        )


@contextmanager
def _named_failures() -> Iterator[None]:
    """What aiohttp raises, as a `Failure`."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out() from error
    except aiohttp.ClientConnectorError as error:
        raise no_connection(error) from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
        raise broken(error) from error
    except aiohttp.ClientError as error:
        raise broken(error, dropped=False) from error
