"""httpx, and httpx2, which the openai SDK uses: their transports, below clients, redirects and signing."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from promptflow.tape.clients.intercept import Answer, Recording, intercept
from promptflow.tape.current import current


def patch(module: Any) -> None:
    _patch_sync(module, module.HTTPTransport)
    _patch_async(module, module.AsyncHTTPTransport)


def _patch_sync(module: ModuleType, cls: Any) -> None:
    original = cls.handle_request
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        taken = intercept(request.method, str(request.url), request.headers, request.read)
        if taken is None:
            return original(self, request)
        if isinstance(taken, Answer):
            return _response(module, request, taken)
        request.headers["accept-encoding"] = "identity"
        try:
            response = original(self, request)
        except BaseException as error:
            taken.failed(error)
            raise
        response.stream = _stream_class(module)(response, taken)
        return response

    cls.handle_request = handle_request


def _patch_async(module: ModuleType, cls: Any) -> None:
    original = cls.handle_async_request
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        if current() is None:
            return await original(self, request)
        body = await request.aread()
        taken = intercept(request.method, str(request.url), request.headers, lambda: body)
        if taken is None:
            return await original(self, request)
        if isinstance(taken, Answer):
            return _response(module, request, taken)
        request.headers["accept-encoding"] = "identity"
        try:
            response = await original(self, request)
        except BaseException as error:
            taken.failed(error)
            raise
        response.stream = _async_stream_class(module)(response, taken)
        return response

    cls.handle_async_request = handle_async_request


def _response(module: Any, request: Any, answer: Answer) -> Any:
    if answer.failure is not None:
        error = module.ReadTimeout if answer.timed_out else module.ConnectError
        raise error(answer.failure[1], request=request)
    return module.Response(answer.status, headers=answer.headers, content=answer.body)


@functools.cache
def _stream_class(module: Any) -> Any:
    class Kept(module.SyncByteStream):  # type: ignore[misc]
        """The bytes of an answer, handed on as they come and kept until the end."""

        def __init__(self, response: Any, recording: Recording) -> None:
            self._inner, self._kept = response.stream, _Kept(response, recording)

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._inner:
                self._kept.pieces.append(chunk)
                yield chunk
            self._kept.end()

        def close(self) -> None:
            self._kept.end()
            self._inner.close()

    return Kept


@functools.cache
def _async_stream_class(module: Any) -> Any:
    class Kept(module.AsyncByteStream):  # type: ignore[misc]
        """The same for async clients."""

        def __init__(self, response: Any, recording: Recording) -> None:
            self._inner, self._kept = response.stream, _Kept(response, recording)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._inner:
                self._kept.pieces.append(chunk)
                yield chunk
            self._kept.end()

        async def aclose(self) -> None:
            self._kept.end()
            await self._inner.aclose()

    return Kept


class _Kept:
    def __init__(self, response: Any, recording: Recording) -> None:
        self.pieces: list[bytes] = []
        self._status, self._headers, self._recording = response.status_code, dict(response.headers), recording

    def end(self) -> None:
        self._recording.answered(self._status, self._headers, b"".join(self.pieces))
