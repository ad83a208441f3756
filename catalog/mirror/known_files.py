"""What was asked for a moment ago: thousands of parts of one file, hundreds of files of one commit. Each is looked up
once."""

from __future__ import annotations

import time
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.mirror.files import Served, file_response
from catalog.mirror.repo import MAIN, Mirror, Repo

_SECONDS = 5.0  # what was removed meanwhile is served no longer than this
_KEPT = 1000
_KEPT_REPOS = 20


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


class KnownRepos:
    """Lists of files by commit, for which a list stays true: but for files that a pull adds, and what is removed."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._known: OrderedDict[tuple[str, str, str], tuple[float, Repo]] = OrderedDict()

    def find(self, kind: str, id: str, revision: str = MAIN) -> Repo:
        """As it is now."""
        repo = self.mirror.find(kind, id, revision)
        self._known[kind, id, repo.sha] = time.monotonic(), repo
        while len(self._known) > _KEPT_REPOS:
            self._known.popitem(last=False)
        return repo

    def with_file(self, kind: str, id: str, revision: str, path: str) -> Repo:
        """As it was a moment ago, if ``revision`` is a commit that had the file then; else as it is now."""
        since, repo = self._known.get((kind, id, revision), (0.0, None))
        if repo is not None and path in repo.entries and time.monotonic() - since <= _SECONDS:
            return repo
        return self.find(kind, id, revision)


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
