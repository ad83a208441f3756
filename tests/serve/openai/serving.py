"""The real application behind a real port, in a thread of the test."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from promptflow.workspace.http_server import listen
from serve.engines.base import Engine, Piece, Request
from serve.openai.app import OpenAIApp
from serve.router import Budget, Router, Served


@contextmanager
def running(app: OpenAIApp) -> Iterator[str]:
    """The address of ``app``, with /v1, while it runs."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)

    async def run() -> None:
        await server.serve([listener])
        await app.service.router.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    while not server.started:
        time.sleep(0.001)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def app_of(*engines: Engine, budget: Budget = Budget(), **options: Any) -> OpenAIApp:  # noqa: B008 - frozen
    """An application of engines that need no loading from files."""
    served = [Served(engine.model, lambda engine=engine: engine) for engine in engines]  # type: ignore[misc]
    return OpenAIApp(Router(served, budget), **options)


class Scripted(Engine):
    """Says its pieces, or raises an exception among them; an `asyncio.Event` among them is waited for."""

    def __init__(self, pieces: Sequence[Any], model: str = "scripted") -> None:
        super().__init__(model)
        self.pieces = pieces
        self.asked: list[Request] = []
        self.inside = self.closed = self.loads = 0

    def load(self) -> None:
        self.loads += 1

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        self.asked.append(request)
        self.inside += 1
        try:
            for piece in self.pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, Piece):
                    yield piece
                else:
                    await asyncio.sleep(piece)
        finally:
            self.inside -= 1
            self.closed += 1


def said(*words: str, finish: str = "stop") -> list[Piece]:
    pieces = [Piece(word, 3, count) for count, word in enumerate(words, start=1)]
    return [*pieces, Piece("", 3, len(words), finish)]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def raw(url: str, path: str, body: bytes, method: str = "POST", **headers: str) -> tuple[int, Any, Any]:
    """Status, body and headers of a request made by hand."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()
