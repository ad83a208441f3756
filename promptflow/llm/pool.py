"""One HTTP connection pool per event loop.

aiohttp, because calls to a model are many and small: at 64 at once it costs a fifth of httpx's CPU per call.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import weakref
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from typing import Any

from promptflow.llm.http import aiohttp

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
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, ssl=certificates()),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=behind_proxy(),
    )
    try:
        yield pool
    finally:
        _pools.pop(loop, None)
        _keepers.pop(loop, None)
        await pool.close()


def behind_proxy() -> bool:
    """Whether the environment names a proxy: to look there for each request is costly."""
    return any(os.environ.get(name) for name in _PROXIES)


def certificates() -> ssl.SSLContext | bool:
    """The system's certificates; those of certifi on systems that have none, such as a fresh Python on macOS."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and os.listdir(paths.capath)) or find_spec("certifi") is None:
        return True
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
