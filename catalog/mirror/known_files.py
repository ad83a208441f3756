"""Files that were asked for a moment ago: a pull asks for thousands of parts of one file, which is looked up once."""

from __future__ import annotations

import time
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.mirror.files import Served, file_response

_SECONDS = 5.0  # what was removed meanwhile is served no longer than this
_KEPT = 1000


class KnownFiles:
    """By the path of their address, which names a commit: it always leads to the same bytes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Served]] = OrderedDict()

    def add(self, path: str, file: Served) -> None:
        self._known[path] = time.monotonic(), file
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def get(self, path: str) -> Served | None:
        since, file = self._known.get(path, (0.0, None))
        if file is None or time.monotonic() - since > _SECONDS:
            return None
        return file


class Shortcut:
    """Sends known files; all else is left to the routes."""

    def __init__(self, app: ASGIApp, known: KnownFiles) -> None:
        self.app, self.known = app, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self.known.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or scope["method"] not in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        # A digest takes time to make, which the routes have a thread for.
        if "want-content-digest" in headers:
            return await self.app(scope, receive, send)
        await file_response(file, headers)(scope, receive, send)
