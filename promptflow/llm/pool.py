"""One HTTP connection pool per event loop.

aiohttp, because calls to a model are many and small: at 64 at once it costs a fifth of httpx's CPU per call. What goes
to plain ``http://`` and is answered whole has a still cheaper way: `promptflow.llm.plain_http`.
"""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec

from promptflow.llm.http import aiohttp
from promptflow.llm.per_loop import PerLoop

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


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
