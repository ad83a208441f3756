"""The service as an ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from promptflow.client import PFClient
from promptflow.exceptions import PromptflowException
from promptflow.service import answers, connections, flows, line_runs, runs, spans
from promptflow.service.visitors import check_visitor
from promptflow.workspace import Workspace


def make_app(workspace: Workspace, key: str, version: str) -> FastAPI:
    """What is under ``/v1.0``. ``key`` is the workspace's, for those who may not ask without."""

    def check(request: Request) -> None:
        check_visitor(request.scope, key)

    app = FastAPI(
        title="Prompt Flow Service",
        version=version,
        description="Runs, traces and connections of one workspace, as Prompt flow's own service gave them.",
        openapi_url="/v1.0/swagger.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(check)],
        responses=_ERRORS,
    )
    app.add_exception_handler(PromptflowException, answers.told)
    app.add_exception_handler(RequestValidationError, answers.invalid)
    app.add_exception_handler(HTTPException, answers.http)
    client = PFClient(workspace=workspace)
    for part in (runs, line_runs, spans, connections, flows):
        app.include_router(part.routes(client))
    return app


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "An argument that is none."},
    401: {"description": "Not without the workspace's key."},
    403: {"description": "Not for a page of another site."},
    404: {"description": "There is no such thing, or it does not do this."},
}
