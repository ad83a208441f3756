"""Takes traces of other processes in: ``POST /v1/traces`` of OpenTelemetry's HTTP protocol."""

from __future__ import annotations

import zlib
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from promptflow.exceptions import MissingExtraError, ValidationException
from promptflow.tracing import otlp
from promptflow.tracing.payload import loads
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace

DEFAULT_PORT = 4318
MAX_BYTES = 64 * 1024 * 1024


def make_app(workspace: Workspace) -> FastAPI:
    """The collector of a workspace, as an ASGI app."""
    app = FastAPI(title="promptflow collector", openapi_url=None)
    store = TraceStore(workspace)

    @app.post("/v1/traces")
    async def take_traces(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await _body(request)
        try:
            rows = await run_in_threadpool(_rows, kind, body)
        except ValidationException as error:
            raise HTTPException(400, str(error)) from error
        except MissingExtraError as error:
            raise HTTPException(415, f"{error} Or send {otlp.JSON}. {error.hint}") from error
        await run_in_threadpool(store.add, rows)
        answer = b"{}" if kind == otlp.JSON else b""
        return Response(answer, media_type=kind)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "Healthy"}

    return app


def run_collector(workspace: Workspace, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
    """Serve the collector until stopped."""
    import uvicorn

    uvicorn.run(make_app(workspace), host=host, port=port, log_level="warning")


def _rows(kind: str, body: bytes) -> list[dict[str, Any]]:
    if kind == otlp.JSON:
        try:
            return otlp.decode(loads(body))
        except ValueError as error:
            raise ValidationException(f"This is not JSON: {error}.") from error
    if kind == otlp.PROTOBUF:
        return otlp.decode(otlp.from_protobuf(body))
    raise HTTPException(415, f"Content-Type '{kind}' is not one of {otlp.JSON}, {otlp.PROTOBUF}.")


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise HTTPException(413, f"A request may have up to {MAX_BYTES} bytes.")
        parts.append(part)
    body = b"".join(parts)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise HTTPException(415, f"Content-Encoding '{encoding}' is not supported.")
    try:
        # Bounded: a small body may unpack to a very large one.
        unpacked = zlib.decompressobj(47).decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise HTTPException(400, f"The body is not {encoding}: {error}.") from error
    return unpacked
