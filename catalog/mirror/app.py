"""The mirror as an ASGI app."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from catalog.local import LocalModels
from catalog.mirror.access import Gate, Tokens, refusal
from catalog.mirror.created import Created
from catalog.mirror.errors import MirrorError
from catalog.mirror.facts import KnownFacts
from catalog.mirror.known_files import KnownFiles, Shortcut
from catalog.mirror.pulled import Pulled
from catalog.mirror.read_routes import read_routes
from catalog.mirror.registered import Registered
from catalog.mirror.repo import Mirror
from catalog.mirror.upload_routes import upload_routes
from catalog.mirror.uploads import Uploads
from catalog.mirror.versions import Versions
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace


def create_app(workspace: Workspace, models: LocalModels | None = None, hosts: Sequence[str] = ()) -> FastAPI:
    """Routes for what is registered and what was pulled. ``hosts``: names that this machine is called by."""
    app = FastAPI(title="promptflow mirror", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    registered = Registered(workspace)
    created = Created(registered)
    mirror = Mirror(registered, Pulled(models or LocalModels()), created)
    uploads = Uploads(workspace)
    uploads.sweep()
    app.include_router(upload_routes(Versions(registered), uploads, created, mirror))
    app.include_router(read_routes(mirror, KnownFacts(), known := KnownFiles()))
    app.add_middleware(Shortcut, known=known)
    app.add_middleware(Gate, tokens=Tokens(workspace).list, hosts=hosts)
    app.add_exception_handler(MirrorError, _on_refusal)
    app.add_exception_handler(PromptflowException, _on_own_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_bad_request)
    app.add_exception_handler(ClientDisconnect, _on_hang_up)
    return app


async def _on_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MirrorError)
    return refusal(error.status, error.message, error.code)


async def _on_own_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PromptflowException)
    hint = f" {error.hint}" if error.hint else ""
    return refusal(error.http_status, f"{error.message}{hint}")


async def _on_hang_up(request: Request, error: Exception) -> JSONResponse:
    return refusal(400, "The request ended before its body did.")  # nobody is there to read it


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail))


async def _on_bad_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return refusal(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
