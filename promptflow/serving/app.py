"""The ASGI application of one flow."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route

from promptflow._version import __version__
from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.serving.answers import error_of
from promptflow.serving.feedback import take_feedback
from promptflow.serving.loaded import ServedFlow, load
from promptflow.serving.options import ServeOptions
from promptflow.serving.page import page
from promptflow.serving.requests import read_headers
from promptflow.serving.score import Score
from promptflow.serving.work import Worker


def create_app(options: ServeOptions | None = None) -> FastAPI:
    """Load a flow and give the application that serves it. Without options, the environment says what to serve."""
    options = options or ServeOptions.from_environment()
    static = _static_folder(options.static_folder)
    flow = load(options)
    worker = Worker(flow.executor)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.end()
        flow.close()

    score = Score(flow, worker)
    app = _App(score, docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.state.flow = flow
    app.router.routes.append(Route("/score", score, methods=["POST"]))
    _add_facts(app, flow)
    _add_page(app, flow, static)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(PromptflowException, _failed)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=["x-request-id"]
    )
    return app


class _App(FastAPI):
    """FastAPI for everything but the path that nearly all requests take, for which its layers cost more than a flow."""

    def __init__(self, score: Score, **options: Any) -> None:
        super().__init__(**options)
        self._score = score

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # A browser of another origin needs the headers that the middleware adds.
        if scope["type"] == "http" and scope["path"] == "/score" and scope["method"] == "POST":
            if all(name != b"origin" for name, _ in scope["headers"]):
                return await self._score(scope, receive, send)
        await super().__call__(scope, receive, send)


def _add_facts(app: FastAPI, flow: ServedFlow) -> None:
    @app.api_route("/health", methods=["GET", "HEAD"])  # load balancers ask with either
    async def health() -> Response:
        return JSONResponse({"status": "Healthy", "version": __version__})

    @app.get("/version")
    async def version() -> Response:
        return JSONResponse(version_facts(os.environ))

    @app.get("/swagger.json")
    async def document() -> Response:
        return JSONResponse(flow.swagger)

    @app.post("/feedback")
    async def feedback(request: Request) -> Response:
        asked = read_headers(request.scope["headers"])
        return JSONResponse(take_feedback(await request.body(), request.url.query, asked))


def version_facts(environ: Mapping[str, str]) -> dict[str, str]:
    """BUILD_INFO is the JSON that a build pipeline leaves in an image; its ``build_number`` is the version then."""
    build = environ.get("BUILD_INFO", "")
    try:
        number = str(json.loads(build)["build_number"])
    except (ValueError, KeyError, TypeError):
        number = __version__
    return {"status": "Healthy", "build_info": build, "version": number}


def _add_page(app: FastAPI, flow: ServedFlow, static: Path | None) -> None:
    own = static / "index.html" if static is not None else None
    text = own.read_text(encoding="utf-8") if own is not None and own.is_file() else page(flow)

    @app.api_route("/", methods=["GET", "POST"])
    async def home() -> Response:
        return HTMLResponse(text)

    if static is not None:
        app.mount("/static", StaticFiles(directory=static))


def _static_folder(folder: str) -> Path | None:
    if not folder:
        return None
    path = Path(folder).resolve()
    if not path.is_dir():
        raise UserErrorException(f"There is no folder {folder} for --static-folder.")
    return path


async def _refused(request: Request, error: Exception) -> Response:
    """Another path, or another method."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    message = str(error.detail)
    if error.status_code in (404, 405):
        routes = "POST /score, POST /feedback, GET /health, GET /version, GET /swagger.json and GET /"
        message = f"{what} is not supported by this app, which answers {routes}."
    body = {"error": {"code": "UserError" if error.status_code < 500 else "SystemError", "message": message}}
    return JSONResponse(body, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    status, body = error_of(error)
    return JSONResponse(body, status)
