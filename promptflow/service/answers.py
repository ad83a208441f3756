"""Answers as Prompt flow's service gave them: JSON, and errors in the form that its clients read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.service.search import SearchError
from promptflow.service.visitors import VisitorError
from promptflow.storage.encode import to_json

JSON = "application/json"


def answered(value: Any, status: int = 200) -> Response:
    """JSON, without known secrets and whatever is in it."""
    return Response(to_json(value), status, media_type=JSON)


async def told(request: Request, error: Exception) -> Response:
    """An error of ours."""
    assert isinstance(error, PromptflowException)
    return told_of(error)


def told_of(error: PromptflowException) -> Response:
    """An error of ours. That of a user is a 404, whatever is wrong, as it always was."""
    is_users = isinstance(error, UserErrorException)
    has_own = not is_users or isinstance(error, VisitorError | SearchError)
    status = error.http_status if has_own else 404
    found = {
        "code": "UserError" if is_users else "PromptflowError",
        "message": f"{error} ({error.hint})" if error.hint else str(error),
        "message_format": error.message_format,
        "message_parameters": {key: str(value) for key, value in error.message_parameters.items()},
        "target": str(error.target),
        "module": error.module,
        "reference_code": error.reference_code,
        "inner_exception": str(error.inner_exception or ""),
        "additional_info": error.additional_info,
        "error_codes": error.error_codes,
    }
    return _error({key: value for key, value in found.items() if value}, status)


async def invalid(request: Request, error: Exception) -> Response:
    """An argument that is none."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    return refused(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")


async def http(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)
    answer = _error({"code": "ServiceError", "message": f"{error.status_code}: {error.detail}"}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def refused(message: str, status: int = 400) -> Response:
    """A request that cannot be understood."""
    return _error({"code": "UserError", "message": message}, status)


def _error(error: dict[str, Any], status: int) -> Response:
    body = {"error": error, "time": datetime.now().isoformat(), "message": error["message"]}
    return answered(body, status)
