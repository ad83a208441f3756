"""One HTTP pool per event loop: requests to models with retries, and streamed answers.

aiohttp, because calls to a model are many and small: at 64 at once it costs a fifth of httpx's CPU per call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import aiohttp
import orjson

from promptflow.llm.endpoints import Endpoint
from promptflow.llm.failures import Failure, from_status, user_error
from promptflow.llm.retry import RetryPolicy
from promptflow.llm.sse import EventParser, EventTooLong

logger = logging.getLogger(__name__)

T = TypeVar("T")
ToError = Callable[[Failure, int], Exception]  # the failure, and how often it was repeated

CONNECT_SECONDS = 15.0
READ_SECONDS = 600.0
MAX_ERROR_BODY = 64 * 1024
MAX_ANSWER = 256 * 1024 * 1024
DEFAULT_RETRIES = RetryPolicy()

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()
_keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[Any, None]] = weakref.WeakKeyDictionary()


async def session() -> aiohttp.ClientSession:
    """The pool of the running loop. It has no limit of connections: as many slots as requests."""
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None or pool.closed:
        keeper = _keep_session()
        pool = await anext(keeper)
        _pools[loop], _keepers[loop] = pool, keeper
    return pool


async def _keep_session() -> AsyncGenerator[aiohttp.ClientSession, None]:
    # A generator, because a loop that ends closes its async generators: nobody else tells the pool that it is time.
    loop = asyncio.get_running_loop()
    pool = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, ssl=_certificates()),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=any(os.environ.get(name) for name in _PROXIES),  # asking for each request is costly
    )
    try:
        yield pool
    finally:
        _pools.pop(loop, None)
        _keepers.pop(loop, None)
        await pool.close()


def _certificates() -> ssl.SSLContext | bool:
    """The system's certificates; those of certifi on systems that have none, such as a fresh Python on macOS."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and os.listdir(paths.capath)) or find_spec("certifi") is None:
        return True
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


async def post(
    target: Endpoint,
    body: dict[str, Any],
    *,
    timeout: float | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
    to_error: ToError = user_error,
) -> dict[str, Any]:
    """Send ``body`` as JSON; the answer's JSON. Raises what ``to_error`` makes once the policy gives up."""
    data = encode(body)

    async def once() -> dict[str, Any]:
        async with _exchange("POST", target, data, timeout) as response:
            return _decode(await _read(response))

    return await _retrying(once, target, retries, to_error)


async def get(
    target: Endpoint,
    *,
    timeout: float | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
    to_error: ToError = user_error,
) -> dict[str, Any]:
    """The JSON object at a URL. Raises as `post`."""

    async def once() -> dict[str, Any]:
        async with _exchange("GET", target, None, timeout) as response:
            return _decode(await _read(response))

    return await _retrying(once, target, retries, to_error)


async def stream(
    target: Endpoint, body: dict[str, Any], *, timeout: float | None = None, retries: RetryPolicy = DEFAULT_RETRIES
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Send ``body`` as JSON; the events of the answer as they arrive, those of one read together.

    Opened with retries. A connection that breaks later is an error: the beginning of the answer is already out.
    """
    data = encode(body)
    try:
        async with AsyncExitStack() as stack:
            response = await _retrying(
                lambda: stack.enter_async_context(_exchange("POST", target, data, timeout)), target, retries
            )
            async for events in _events(response):
                yield events
    except Failure as failure:
        raise user_error(failure) from None


async def _retrying(
    once: Callable[[], Awaitable[T]], target: Endpoint, policy: RetryPolicy, to_error: ToError = user_error
) -> T:
    unprocessable = 0
    attempt = 0
    while True:
        try:
            return await once()
        except Failure as failure:
            failure.message = target.hide(failure.message)
            unprocessable = unprocessable + 1 if failure.status == 422 else 0
            wait = policy.wait(failure, attempt, unprocessable)
            if wait is None:
                raise to_error(failure, attempt) from None
            attempt += 1
            logger.warning(
                "%s: %s Try %d of %d in %.1f s.", failure.kind, failure.message, attempt, policy.retries, wait
            )
            await asyncio.sleep(wait)


@asynccontextmanager
async def _exchange(
    method: str, target: Endpoint, data: bytes | None, timeout: float | None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """One request and the start of its answer; everything that can go wrong becomes a `Failure`."""
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS, sock_read=timeout or READ_SECONDS)
    pool = await session()
    try:
        # Redirects are not followed: they would carry the key to another server.
        async with pool.request(
            method, target.url, data=data, headers=target.headers, timeout=limits, allow_redirects=False
        ) as response:
            if 300 <= response.status < 400:
                raise _redirected(response)
            if response.status >= 400:
                body = await response.content.read(MAX_ERROR_BODY)
                raise from_status(response.status, body, response.headers.get("retry-after", ""))
            yield response
    except TimeoutError as error:
        raise Failure("APITimeoutError", "Request timed out.") from error
    except aiohttp.ClientConnectorError as error:
        raise Failure("APIConnectionError", f"Connection error. {error}") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
        raise Failure("APIConnectionError", f"Connection error. {_words(error)}", dropped=True) from error
    except (aiohttp.InvalidURL, aiohttp.ClientError) as error:
        raise Failure("APIConnectionError", f"Connection error. {_words(error)}") from error


def _redirected(response: aiohttp.ClientResponse) -> Failure:
    to = response.headers.get("location", "elsewhere")
    return Failure(
        "APIStatusError", f"The server sends on to {to}: give this address to the connection.", response.status
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > MAX_ANSWER:
        raise Failure("APIResponseValidationError", f"The answer is larger than {MAX_ANSWER >> 20} MiB.")
    return await response.read()


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[list[dict[str, Any]]]:
    parser = EventParser()
    try:
        async for chunk in response.content.iter_any():
            yield [_event(data) for data in parser.feed(chunk)]
        yield [_event(data) for data in parser.end()]
    except EventTooLong as error:
        raise Failure("APIResponseValidationError", f"The answer cannot be read: {error}.") from None


def _event(data: bytes) -> dict[str, Any]:
    if data == b"[DONE]":
        return {"done": True}
    event = _decode(data)
    error = event.get("error")
    if error:
        raise from_status(int(error.get("status") or 0) if isinstance(error, dict) else 0, data)
    return event


def encode(body: dict[str, Any]) -> bytes:
    """A body as JSON; what orjson refuses (huge integers, half a surrogate pair) goes the slow way."""
    try:
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        import json

        return json.dumps(body).encode()


def _decode(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        shown = data[:200].decode("utf-8", "replace")
        raise Failure(
            "APIResponseValidationError", f"The model's server answered with what is no JSON object: {shown!r}"
        )
    return value


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
