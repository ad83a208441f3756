"""The OpenAI-compatible HTTP face of one engine."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from promptflow.exceptions import PromptflowException
from serve.engines.answers import Answer, events, total
from serve.engines.base import Engine, Piece, PromptTooLongError, Request
from serve.engines.bodies import ChatBody, CompletionBody


class Activity:
    """When the last request ended, and how many are in the works. Health checks do not count as work."""

    def __init__(self) -> None:
        self.running = 0
        self.last = time.monotonic()

    def idle_seconds(self) -> float:
        return 0.0 if self.running else time.monotonic() - self.last

    def begin(self) -> None:
        self.running += 1

    def end(self) -> None:
        self.running -= 1
        self.last = time.monotonic()


class Gate:
    """Lets only requests with the key through to /v1, and counts them."""

    def __init__(self, app: ASGIApp, key: str, activity: Activity) -> None:
        self.app, self.key, self.activity = app, key.encode(), activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            return await self.app(scope, receive, send)
        if self.key and not hmac.compare_digest(given_key(scope), self.key):
            refusal = problem(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
            return await refusal(scope, receive, send)
        self.activity.begin()
        try:
            await self.app(scope, receive, send)
        finally:
            self.activity.end()


def given_key(scope: Scope) -> bytes:
    headers = dict(scope["headers"])
    bearer: bytes = headers.get(b"authorization", b"")
    return bearer[7:].strip() if bearer[:7].lower() == b"bearer " else headers.get(b"api-key", b"")


def create_app(engine: Engine, key: str = "", activity: Activity | None = None) -> FastAPI:
    """Routes of one loaded engine. An empty ``key`` lets everybody in."""
    app = FastAPI(title="promptflow engine", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, key=key, activity=activity or Activity())
    started = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": engine.model}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card(engine.model, started)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        check_model(engine, name)
        return card(engine.model, started)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody) -> Response:
        check_model(engine, body.model)
        try:
            messages = tuple(message.plain() for message in body.messages)
        except ValueError as error:
            return problem(400, str(error), "invalid_request_error", param="messages")
        requests = [Request(messages=messages, sampling=body.to_sampling())]
        return await answered(engine, body, requests, chat=True)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody) -> Response:
        check_model(engine, body.model)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        requests = [Request(prompt=prompt, sampling=body.to_sampling()) for prompt in prompts]
        return await answered(engine, body, requests, chat=False)

    app.add_exception_handler(RequestValidationError, on_bad_body)
    app.add_exception_handler(PromptflowException, on_own_error)
    app.add_exception_handler(StarletteHTTPException, on_http_error)
    app.add_exception_handler(Exception, on_any_error)
    return app


async def answered(engine: Engine, body: ChatBody | CompletionBody, requests: list[Request], *, chat: bool) -> Response:
    """All choices of all requests, generated at the same time; as one body or as a stream."""
    copies = body.n or 1
    answer = Answer.begin(engine.model, chat)
    every = [engine.generate(again(request, copy)) for request in requests for copy in range(copies)]
    if body.stream:
        merged = interleaved(every)
        # The first piece is awaited here, so that a request which cannot be served gets its status code.
        first = await anext(merged)
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = events(answer, resumed(first, merged), copies, with_usage)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    pieces = await asyncio.gather(*(collected(one) for one in every))
    choices = [answer.whole(index, said) for index, said in enumerate(pieces)]
    last = {index: said[-1] for index, said in enumerate(pieces)}
    return JSONResponse({**answer.body(choices), "usage": total(last, copies)})


def again(request: Request, copy: int) -> Request:
    """The request for another choice: with a seed of its own, or all choices would be the same."""
    if copy == 0 or request.sampling.seed is None:
        return request
    return replace(request, sampling=replace(request.sampling, seed=request.sampling.seed + copy))


async def collected(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def resumed(first: tuple[int, Piece], rest: AsyncIterator[tuple[int, Piece]]) -> AsyncIterator[tuple[int, Piece]]:
    yield first
    async for item in rest:
        yield item


async def interleaved(every: list[AsyncIterator[Piece]]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of several answers, each with the index of its answer, as they come."""
    if len(every) == 1:
        async with aclosing(every[0]) as only:  # type: ignore[type-var]
            async for piece in only:
                yield 0, piece
        return
    queue: asyncio.Queue[tuple[int, Piece] | BaseException] = asyncio.Queue()

    async def pump(index: int, pieces: AsyncIterator[Piece]) -> None:
        try:
            async for piece in pieces:
                queue.put_nowait((index, piece))
        except Exception as error:
            queue.put_nowait(error)

    tasks = [asyncio.create_task(pump(index, pieces)) for index, pieces in enumerate(every)]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            left -= bool(item[1].finish)
            yield item
    finally:
        for task in tasks:
            task.cancel()


def card(model: str, created: int) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": created, "owned_by": "promptflow"}


def check_model(engine: Engine, name: str | None) -> None:
    if name and name not in (engine.model, engine.model.rpartition("/")[2]):
        raise HTTPException(404, f"The model '{name}' is not served here; '{engine.model}' is.")


def problem(status: int, message: str, kind: str, code: str | None = None, param: str | None = None) -> JSONResponse:
    """An error as the OpenAI API words it."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


async def on_bad_body(_: Any, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) if first["type"] != "json_invalid" else ""
    message = f"{where}: {first['msg']}" if where else f"The body is not valid: {first['msg']}"
    return problem(400, message, "invalid_request_error", param=where or None)


async def on_own_error(_: Any, error: Exception) -> JSONResponse:
    assert isinstance(error, PromptflowException)
    code = "context_length_exceeded" if isinstance(error, PromptTooLongError) else None
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    return problem(error.http_status, str(error), kind, code)


async def on_http_error(_: Any, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    code = "model_not_found" if error.status_code == 404 and "model" in str(error.detail) else None
    return problem(error.status_code, str(error.detail), "invalid_request_error", code)


async def on_any_error(_: Any, error: Exception) -> JSONResponse:
    return problem(500, f"The engine failed: {type(error).__name__}: {error}", "server_error")
