"""An ASGI application for servers that speak WSGI, such as gunicorn's own workers."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from promptflow.llm.background import LoopThread

_END = object()
WAITING_PIECES = 64  # of one answer, for a client that reads slower than the flow writes


class WsgiApp:
    """Runs the application on an event loop of its own, for all threads of the server."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = LoopThread("promptflow-wsgi")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        exchange = _Exchange(environ)
        self._loop.submit(exchange.run(self.app)).add_done_callback(exchange.over)
        status, headers = exchange.begin()
        start_response(status, headers)
        return exchange.pieces(self._loop.loop)


class _Exchange:
    """One request, between the thread that WSGI calls on and the event loop."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._scope = _scope(environ)
        self._body = _body(environ)
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room: asyncio.Semaphore | None = None
        self._gone: asyncio.Event | None = None

    async def run(self, app: Any) -> None:
        """On the loop."""
        self._room, self._gone = asyncio.Semaphore(WAITING_PIECES), asyncio.Event()
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        assert self._gone is not None
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._room is not None
        await self._room.acquire()
        self._sent.put(message)

    def over(self, future: Any) -> None:
        """The application has returned, or raised."""
        error = None if future.cancelled() else future.exception()
        self._sent.put(_END if error is None else error)

    def begin(self) -> tuple[str, list[tuple[str, str]]]:
        """On the server's thread: the status line and the headers."""
        message = self._sent.get()
        if isinstance(message, BaseException):
            raise message
        code = message["status"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        return f"{code} {HTTPStatus(code).phrase}", headers

    def pieces(self, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
        """The body as it comes. A server that closes the iterator early tells that the client is gone."""
        assert self._room is not None and self._gone is not None
        try:
            while (message := self._sent.get()) is not _END:
                if isinstance(message, BaseException):
                    raise message
                loop.call_soon_threadsafe(self._room.release)
                if message.get("body"):
                    yield message["body"]
                if not message.get("more_body"):
                    return
        finally:
            loop.call_soon_threadsafe(self._gone.set)


def _scope(environ: dict[str, Any]) -> dict[str, Any]:
    headers = [
        (key[5:].replace("_", "-").lower().encode(), str(value).encode("latin-1"))
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    if environ.get("CONTENT_TYPE"):
        headers.append((b"content-type", environ["CONTENT_TYPE"].encode("latin-1")))
    path = environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 80)),
        "client": (environ.get("REMOTE_ADDR", ""), 0),
    }


def _body(environ: dict[str, Any]) -> bytes | None:
    stream = environ["wsgi.input"]
    if environ.get("CONTENT_LENGTH"):
        return bytes(stream.read(int(environ["CONTENT_LENGTH"])))
    return bytes(stream.read()) if environ.get("wsgi.input_terminated") else b""
