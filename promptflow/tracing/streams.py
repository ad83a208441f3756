"""Iterators that a traced call returned: its span stays open until they are read to the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from promptflow.tracing.spans import Span

Finish = Callable[[Span, list[Any]], None]


class _Proxy:
    """The iterator behind, with everything it can do; ``items`` is what it has given so far."""

    def __init__(self, iterator: Any, span: Span, finish: Finish | None = None) -> None:
        self._iterator = iterator
        self._span = span
        self._finish = finish
        self.items: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_iterator" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._iterator, name)

    def __del__(self) -> None:
        # Dropped before its end: the span holds what was read.
        if "_span" in self.__dict__ and not self._span.end_ns:
            self._done()

    def _done(self) -> None:
        span = self._span
        if span.end_ns:
            return
        span.set_output(self.items)
        span.set_attribute("output_type", "iterated")
        if self._finish is not None:
            self._finish(span, self.items)
        span.end()

    def _failed(self, error: BaseException) -> None:
        if not self._span.end_ns:
            self._span.record_error(error)
            self._span.end()


class TracedIterator(_Proxy):
    """What ``@trace`` makes of a generator."""

    def __iter__(self) -> TracedIterator:
        return self

    def __next__(self) -> Any:
        try:
            with self._span.resumed():
                item = next(self._iterator)
        except StopIteration:
            self._done()
            raise
        except BaseException as error:
            self._failed(error)
            raise
        self.items.append(item)
        return item

    def __enter__(self) -> TracedIterator:
        if hasattr(self._iterator, "__enter__"):
            self._iterator.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._iterator.__exit__(*error) if hasattr(self._iterator, "__exit__") else None

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
        self._done()


class TracedAsyncIterator(_Proxy):
    """What ``@trace`` makes of an async generator."""

    def __aiter__(self) -> TracedAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        try:
            with self._span.resumed():
                item = await self._iterator.__anext__()
        except StopAsyncIteration:
            self._done()
            raise
        except BaseException as error:
            self._failed(error)
            raise
        self.items.append(item)
        return item

    async def __aenter__(self) -> TracedAsyncIterator:
        if hasattr(self._iterator, "__aenter__"):
            await self._iterator.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._iterator.__aexit__(*error) if hasattr(self._iterator, "__aexit__") else None

    async def aclose(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
        self._done()


def settle(span: Span, output: Any, finish: Finish | None = None) -> Any:
    """What to hand out for ``output``: an iterator is wrapped and keeps its span open, any other value is recorded."""
    if isinstance(output, Iterator):
        span.keep_open()
        return TracedIterator(output, span, finish)
    if isinstance(output, AsyncIterator):
        span.keep_open()
        return TracedAsyncIterator(output, span, finish)
    span.set_output(output)
    return output
