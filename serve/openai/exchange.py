"""One HTTP request and its answer, over bare ASGI: a framework costs more than all the rest of a small request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from promptflow.exceptions import PromptflowException
from serve.openai.bodies import Body
from serve.openai.errors import ApiError, described

MAX_BODY = 64 * 1024 * 1024  # bytes; images come inline

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Body)


@dataclass
class Tally:
    """What one request came to; filled in while it is answered."""

    route: str = ""
    model: str = ""
    status: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token: float = 0.0  # seconds from the request to the first piece of its answer


class Exchange:
    """``key`` is the name of the API key that asked; ``tally`` is what the metrics and limits learn of it."""

    def __init__(self, scope: Mapping[str, Any], receive: Any, send: Any, key: str = "") -> None:
        self.scope, self.receive, self.send, self.key = scope, receive, send, key
        self.path: str = scope["path"]
        self.tally = Tally()
        self.begun = time.perf_counter()
        self.headers: list[tuple[bytes, bytes]] = []  # that any answer will carry
        self.gone = False
        self.fault_told = False  # a stream has told of its error already, in words of its own
        self._streaming = self._complete = False
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, kind: type[T]) -> T:
        """The body. Fields that it does not know are named in a header of the answer."""
        body = kind.model_validate_json(await self._bytes())
        ignored = body.ignored()
        if ignored:
            self.headers.append((b"warning", f'299 - "ignored fields: {", ".join(ignored)}"'.encode("latin-1")))
        return body

    async def _bytes(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client hung up")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BODY:
                raise ApiError(413, f"The body is larger than {MAX_BODY // 2**20} MiB.")
            if not message.get("more_body"):
                return b"".join(parts)

    @contextlib.contextmanager
    def ended_by_hangup(self) -> Iterator[None]:
        """Within it, the work stops once the client hangs up. The whole body has to be read before."""
        task = asyncio.current_task()
        assert task is not None
        self._watcher = asyncio.create_task(self._watch(task))
        try:
            yield
        except asyncio.CancelledError:
            if not self.gone:
                raise
            task.uncancel()
            raise ConnectionResetError("the client hung up") from None
        finally:
            self._watcher.cancel()

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        # The end of the answer is told as a disconnect, too; what is left to do then must not be disturbed.
        if not self._complete:
            self.gone = True
            task.cancel()

    async def json(self, body: Any, status: int = 200) -> None:
        await self.whole(orjson.dumps(body), status=status)

    async def whole(self, content: bytes, media: bytes = JSON, status: int = 200) -> None:
        await self._start(status, media, [(b"content-length", str(len(content)).encode())])
        self._complete = True
        await self.send({"type": "http.response.body", "body": content})

    async def events(self, chunks: AsyncIterator[bytes]) -> None:
        """Chunks as they come. An error on the way is told as the last event, and no ``[DONE]`` follows."""
        self._streaming = True
        await self._start(200, EVENTS, [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")])
        async for chunk in chunks:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._complete = True
        await self.send({"type": "http.response.body", "body": b""})

    async def fail(self, error: Exception) -> None:
        """Tell the client of ``error``, in whatever way the answer has left."""
        status, body, headers = described(error)
        if not isinstance(error, (PromptflowException, ValidationError)):
            logger.error("%s failed", self.path, exc_info=error)
        if self._streaming:
            self._complete = True
            event = b"" if self.fault_told else b"data: " + orjson.dumps(body) + b"\n\n"
            await self.send({"type": "http.response.body", "body": event})
        elif not self.tally.status:
            self.headers += [(name.encode(), value.encode()) for name, value in headers.items()]
            await self.json(body, status)
        self.tally.status = status

    async def _start(self, status: int, media: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.tally.status = status
        every = [(b"content-type", media), *headers, *self.headers]
        await self.send({"type": "http.response.start", "status": status, "headers": every})

    def first(self) -> None:
        """Called with each piece of an answer; the first one counts."""
        if not self.tally.first_token:
            self.tally.first_token = time.perf_counter() - self.begun
