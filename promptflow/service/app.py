"""The service as an ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from promptflow.client import PFClient
from promptflow.exceptions import PromptflowException
from promptflow.service import answers, connections, flows, line_runs, runs, spans
from promptflow.service.visitors import VisitorError, check_visitor
from promptflow.workspace import Workspace
from promptflow.workspace.http_guard import Guard


def make_app(workspace: Workspace, key: str, version: str) -> FastAPI:
    """What is under ``/v1.0``. ``key`` is the workspace's, for those who may not ask without."""

    async def refuse(scope: Any) -> Response | None:
        try:
            await run_in_threadpool(check_visitor, scope, key)  # it reads a file of the system's
        except VisitorError as error:
            return answers.told_of(error)
        return None

    app = FastAPI(
        title="Prompt Flow Service",
        version=version,
        description="Runs, traces and connections of one workspace, as Prompt flow's own service gave them.",
        openapi_url="/v1.0/swagger.json",
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
    )
    app.add_exception_handler(PromptflowException, answers.told)
    app.add_exception_handler(RequestValidationError, answers.invalid)
    app.add_exception_handler(HTTPException, answers.http)
    app.add_middleware(Guard, refuse=refuse, too_large=lambda: answers.refused("The body is too large.", 413))
    client = PFClient(workspace=workspace)
    for part in (runs, line_runs, spans, connections, flows):
        app.include_router(part.routes(client))
    return app


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "An argument that is none."},
    401: {"description": "Not without the workspace's key."},
    403: {"description": "Not for a page of another site."},
    404: {"description": "There is no such thing, or it does not do this."},
    413: {"description": "The body is too large."},
}
