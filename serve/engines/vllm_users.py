"""Who uses a server that comes and goes: requests wait while it starts, and it waits for them before it changes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from serve.engines.base import AdapterNotFoundError

S = TypeVar("S")


class Users(Generic[S]):
    """Requests of one model, on any event loop, against one server (``S``) at a time. ``names`` are the adapters that
    requests may ask for, and what the server calls each."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._server: Future[S] = _pending()

    def open(self, server: S) -> None:
        """Requests go to ``server`` from now on, those that wait first."""
        with self._changed:
            if self._server.done():
                self._server = _pending()
            self._server.set_result(server)

    def pause(self) -> None:
        """New requests wait until it opens again, or is shut."""
        with self._changed:
            if self._server.done():
                self._server = _pending()

    def doubt(self, server: S) -> bool:
        """As `pause`, if requests go to this one now."""
        with self._changed:
            going = self._server.done() and self._server.exception() is None and self._server.result() is server
            if going:
                self._server = _pending()
            return going

    def shut(self, reason: Exception) -> None:
        """Requests get this error from now on; also those that wait."""
        with self._changed:
            if self._server.done():
                self._server = _pending()
            self._server.set_exception(reason)

    @asynccontextmanager
    async def server(self, adapter: str = "") -> AsyncIterator[tuple[S, str]]:
        """The server, and what it calls the adapter, for one request. AdapterNotFoundError."""
        server, called = await self._enter(adapter)
        try:
            yield server, called
        finally:
            with self._changed:
                self._counts[called] -= 1
                self._changed.notify_all()

    async def _enter(self, adapter: str) -> tuple[S, str]:
        while True:
            waited = self._server
            server = waited.result() if waited.done() else await asyncio.wrap_future(waited)
            with self._changed:
                if self._server is not waited:
                    continue  # it changed while we came here
                called = self._called(adapter)
                self._counts[called] += 1
                return server, called

    def _called(self, adapter: str) -> str:
        if adapter and adapter not in self.names:
            raise AdapterNotFoundError(
                f"The model '{self.model}' has no adapter '{adapter}'.",
                hint=f"it has {', '.join(self.names)}" if self.names else "none is loaded",
            )
        return self.names[adapter] if adapter else ""

    def name(self, adapter: str, called: str) -> str | None:
        """Requests for ``adapter`` use what the server calls so from now on; what they used before."""
        with self._changed:
            before = self.names.get(adapter)
            self.names = {**self.names, adapter: called}
            return before

    def unname(self, adapter: str) -> str:
        """Requests for it are refused from now on. AdapterNotFoundError."""
        with self._changed:
            called = self._called(adapter)
            self.names = {name: one for name, one in self.names.items() if name != adapter}
            return called

    def wait(self, called: str | None = None) -> None:
        """Until nobody uses what the server calls so; the server at all, if None."""
        with self._changed:
            self._changed.wait_for(lambda: not (sum(self._counts.values()) if called is None else self._counts[called]))


def _pending() -> Future[S]:
    future: Future[S] = Future()
    future.set_running_or_notify_cancel()  # or the first of those that wait would cancel it for all when it hangs up
    return future
