"""Patching the HTTP libraries, each when it is imported. Without a tape in use, a patch only asks for one."""

from __future__ import annotations

from promptflow.tape.clients import on_aiohttp, on_httpx, on_requests, on_urllib
from promptflow.tracing.on_import import when_imported

_PATCHES = {
    "aiohttp.client": on_aiohttp.patch,
    "httpx": on_httpx.patch,
    "httpx2": on_httpx.patch,
    "requests.adapters": on_requests.patch,
    "urllib.request": on_urllib.patch,
}


def watch() -> None:
    """Once per process; doing it again does nothing."""
    for name, patch in _PATCHES.items():
        when_imported(name, patch)
