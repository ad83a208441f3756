"""aiohttp, imported without the 35 ms that it spends on the system's certificates: twice, and for http:// too.

The two TLS contexts that `aiohttp.connector` makes when it is imported get their certificates at the first
connection that asks for them. They are whole for everybody else in the process who uses aiohttp.
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()


@contextmanager
def certificates_on_first_use() -> Iterator[None]:
    """Contexts that this thread makes inside read the system's certificates when they are first used."""
    here = threading.get_ident()
    read = ssl.SSLContext.set_default_verify_paths

    def later(context: ssl.SSLContext) -> None:
        if threading.get_ident() != here:
            read(context)
            return
        for name in ("wrap_bio", "wrap_socket"):
            setattr(context, name, _reading_first(context, name))

    ssl.SSLContext.set_default_verify_paths = later  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # it is inherited: what was set above was in its way


def _reading_first(context: ssl.SSLContext, name: str) -> Callable[..., Any]:
    def wrap(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            if name in vars(context):
                context.set_default_verify_paths()
                del context.wrap_bio, context.wrap_socket
        return getattr(context, name)(*args, **kwargs)

    return wrap


if "aiohttp" in sys.modules:
    import aiohttp
else:
    with certificates_on_first_use():
        import aiohttp

__all__ = ["aiohttp"]
