"""Generators as node outputs: read once, seen by everybody who references them, joined where text is wanted."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any


class Stream:
    """The output of a generator node. Items are kept, so that each reader sees all of them from the start."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.items: list[Any] = []
        self.when_read: Callable[[list[Any]], None] | None = None  # called once, with all items, when it has ended
        self._source = source
        self._lock = threading.Lock()

    def read(self) -> Iterator[Any]:
        """A generator over all items; reads on where no reader has been."""
        index = 0
        while True:
            if index == len(self.items):
                with self._lock:
                    if index == len(self.items):
                        try:
                            self.items.append(next(self._source))
                        except StopIteration:
                            _ended(self)
                            return
            yield self.items[index]
            index += 1

    def join(self) -> str:
        """All items as one text."""
        return "".join(str(item) for item in self.read())

    def made_async(self) -> Stream | AsyncStream:
        """The same for async readers, where the source can be read both ways and nobody has begun."""
        if self.items or not isinstance(self._source, AsyncIterator):
            return self
        stream = AsyncStream(self._source)
        stream.items, stream.when_read = self.items, self.when_read
        return stream


class AsyncStream:
    """As Stream, for async generators; its readers share one event loop."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self.items: list[Any] = []
        self.when_read: Callable[[list[Any]], None] | None = None
        self._source = source
        self._lock: Any = None

    async def read(self) -> AsyncIterator[Any]:
        import asyncio

        self._lock = self._lock or asyncio.Lock()
        index = 0
        while True:
            if index == len(self.items):
                async with self._lock:
                    if index == len(self.items):
                        try:
                            self.items.append(await anext(self._source))
                        except StopAsyncIteration:
                            _ended(self)
                            return
            yield self.items[index]
            index += 1

    async def join(self) -> str:
        return "".join([str(item) async for item in self.read()])


def _ended(stream: Stream | AsyncStream) -> None:
    call, stream.when_read = stream.when_read, None
    if call is not None:
        call(stream.items)


def wrap(value: Any) -> Any:
    """A Stream for an iterator that can be read once; any other value as it is."""
    if isinstance(value, Iterator):
        return Stream(value)
    if inspect.isasyncgen(value) or isinstance(value, AsyncIterator):
        return AsyncStream(value)
    return value


def unwrap(value: Any) -> Any:
    """What a consumer gets: a fresh generator over a stream; any other value as it is."""
    return value.read() if isinstance(value, Stream | AsyncStream) else value


def recorded(value: Any) -> Any:
    """A value as records hold it: the items read so far of a stream."""
    return list(value.items) if isinstance(value, Stream | AsyncStream) else value
