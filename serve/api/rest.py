"""The REST API of endpoints, deployments and jobs, as a FastAPI application. All of it needs the workspace's key."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.workspace.http_guard import MAX_BODY, Guard
from serve.api import batch, deployments, endpoints, jobs
from serve.api.bodies import ErrorAnswer
from serve.api.running import Running

ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": ErrorAnswer} for code in (400, 401, 404, 405, 409, 413, 422)}
DOCUMENT = "/api/openapi.json"
BEARER = HTTPBearer(
    description="The workspace's own key: endpoints/server.json of its folder has it.", auto_error=False
)


class Owner:
    """Lets in who shows the workspace's key; everybody may see the document of the API."""

    def __init__(self, key: str) -> None:
        self.key = key.encode()

    async def refuse(self, scope: Any) -> JSONResponse | None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if self.key and given[:7].lower() == b"bearer " and hmac.compare_digest(given[7:].strip(), self.key):
            return None
        if scope["path"] == DOCUMENT:
            return None
        answer = _error(401, "Unauthorized", "This needs the workspace's key.")
        answer.headers["www-authenticate"] = "Bearer"
        return answer


def make_app(server: Running, version: str) -> FastAPI:
    """The API of one server; mounted where it is, at ``/api/v1``."""
    app = FastAPI(
        title="Prompt flow server",
        version=version,
        description="Endpoints, deployments and jobs of one workspace.",
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(BEARER)],  # for the document: the guard is before it
        responses=ERRORS,
    )
    app.add_exception_handler(PromptflowException, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Guard, refuse=Owner(server.key).refuse, too_large=_too_large)
    for part in (endpoints, deployments, batch, jobs):
        app.include_router(part.routes(server))
    return app


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PromptflowException)
    status = error.http_status if not isinstance(error, UserErrorException) or error.http_status < 500 else 400
    hint = f" ({error.hint})" if error.hint else ""
    return _error(status, type(error).__name__, f"{error}{hint}")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    return _error(422, "BadArgument", f"{where}: {fault['msg']}")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = _error(error.status_code, "BadRequest", str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def _too_large() -> JSONResponse:
    return _error(413, "RequestTooLarge", f"A request may have up to {MAX_BODY} bytes.")


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
