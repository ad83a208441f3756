"""Streamed answers, for ``for`` and for ``async for``, from any thread or event loop."""

from __future__ import annotations

import atexit
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from promptflow.exceptions import WrappedOpenAIError
from promptflow.llm.background import stream_loop
from promptflow.llm.response import ApiObject
from promptflow.llm.transport import Events
from promptflow.tracing.spans import Span

_open: weakref.WeakSet[ChunkStream] = weakref.WeakSet()


@atexit.register
def _close_open_streams() -> None:
    # Runs before the loops are closed, for it was registered after: their last deed is to hang up.
    for stream in list(_open):
        stream.close()


class ChunkStream:
    """The chunks of one answer, in order, once.

    The connection is read on the stream loop, which runs no user code; so whoever waits here, in a thread or in a
    coroutine, never waits for itself.
    """

    def __init__(self, events: Events, chunk_class: type[ApiObject], call: Span) -> None:
        self._events = events
        self._chunk_class = chunk_class
        self._call = call
        self._ready: deque[dict[str, Any]] = deque()
        self._answer = _Answer()
        self._over = False
        _open.add(self)

    def __iter__(self) -> ChunkStream:
        return self

    def __next__(self) -> ApiObject:
        while not self._ready:
            if self._over:
                raise StopIteration
            self._take(stream_loop().run(self._more()))
        return self._chunk_class(self._ready.popleft())

    def __aiter__(self) -> ChunkStream:
        return self

    async def __anext__(self) -> ApiObject:
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            self._take(await stream_loop().call(self._more()))
        return self._chunk_class(self._ready.popleft())

    async def _more(self) -> list[dict[str, Any]] | None:
        """The next events; None at the end. Errors are recorded and end the stream."""
        try:
            return await self._events.read()
        except BaseException as error:
            self._end(error)
            raise

    def _take(self, events: list[dict[str, Any]] | None) -> None:
        for event in events or ():
            if "done" in event:
                self._answer.complete = True
            else:
                self._answer.add(event)
                self._ready.append(event)
        if events is None:
            cut = None if self._answer.complete else self._answer.cut_error()
            self._end(cut)
            if cut is not None:
                raise cut

    def _end(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        _open.discard(self)
        if error is not None:
            self._call.record_error(error)
        else:
            self._answer.record(self._call)
        self._call.end()

    def close(self) -> None:
        """Stop reading; the connection is closed."""
        self._ready.clear()
        if not self._over:
            self._end(None)
            stream_loop().loop.call_soon_threadsafe(self._events.close)

    async def aclose(self) -> None:
        self.close()

    def __enter__(self) -> ChunkStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> ChunkStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", True) and not sys.is_finalizing():
            self.close()


class _Answer:
    """What the chunks so far add up to."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.model = ""
        self.usage: dict[str, Any] | None = None
        self.complete = False

    def add(self, event: dict[str, Any]) -> None:
        self.model = event.get("model") or self.model
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or ():
            content = (choice.get("delta") or {}).get("content") if "delta" in choice else choice.get("text")
            if content:
                self.text.append(content)
            if choice.get("finish_reason"):
                self.complete = True

    def cut_error(self) -> WrappedOpenAIError:
        size = sum(map(len, self.text))
        return WrappedOpenAIError(
            "OpenAI API hits APIConnectionError: The model's server closed the connection in the middle of its answer, "
            f"after {size} characters.",
            kind="APIConnectionError",
            hint="ask again, or without `stream`; a proxy in between may limit how long an answer takes",
        )

    def record(self, call: Span) -> None:
        call.set_output("".join(self.text))
        if self.model:
            call.set_attribute("llm.response.model", self.model)
        if self.usage:
            call.set_usage(self.usage)


class TextStream:
    """The text of a streamed answer, piece by piece; what ``text_of`` gives as None is left out."""

    def __init__(self, chunks: ChunkStream, text_of: Callable[[ApiObject], str | None]) -> None:
        self._chunks = chunks
        self._text_of = text_of

    def __iter__(self) -> TextStream:
        return self

    def __next__(self) -> str:
        for chunk in self._chunks:
            text = self._text_of(chunk)
            if text is not None:
                return text
        raise StopIteration

    def __aiter__(self) -> TextStream:
        return self

    async def __anext__(self) -> str:
        async for chunk in self._chunks:
            text = self._text_of(chunk)
            if text is not None:
                return text
        raise StopAsyncIteration

    def close(self) -> None:
        self._chunks.close()

    async def aclose(self) -> None:
        self._chunks.close()

    def generator(self) -> Generator[str, None, None]:
        """The same as a plain generator, which is what much code tests for."""
        try:
            yield from self
        finally:
            self.close()


def chat_text(chunk: ApiObject) -> str | None:
    """The text of a chat chunk; an empty one where it holds a role or the end only."""
    return (chunk.choices[0].delta.content or "") if chunk.choices else None


def completion_text(chunk: ApiObject) -> str | None:
    return (chunk.choices[0].get("text") or "") if chunk.choices else None
