"""Errors as the OpenAI API words them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from promptflow.exceptions import PromptflowException, UserErrorException
from serve.engines.base import AdapterNotFoundError, Engine, PromptTooLongError, UnsupportedError
from serve.engines.remote_errors import RemoteError
from serve.router import NotServedError


class ApiError(UserErrorException):
    """A refusal with all that OpenAI's shape has room for. ``headers`` go with the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status, self.kind, self.code, self.param = status, kind, code, param
        self.headers = dict(headers or {})


def problem(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def described(error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and extra headers for any error."""
    if isinstance(error, (ApiError, RemoteError)):
        return error.http_status, problem(error.message, error.kind, error.code, error.param), error.headers
    if isinstance(error, ValidationError):
        message, param = first_fault(error)
        return 400, problem(message, "invalid_request_error", param=param), {}
    if isinstance(error, PromptflowException):
        kind = "invalid_request_error" if error.http_status < 500 else "server_error"
        hint = f" ({error.hint})" if error.hint else ""
        return error.http_status, problem(f"{error}{hint}", kind, _code(error)), {}
    return 500, problem(f"The engine failed: {type(error).__name__}: {error}", "server_error"), {}


def first_fault(error: ValidationError) -> tuple[str, str | None]:
    """What is wrong with a body, in one sentence, and the field it is about, as ``messages.0.role``."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    same = [fault for fault in faults if fault["loc"][:1] == faults[0]["loc"][:1]]
    # Of a union each member has its fault: the one that is of the right type says what is wrong.
    fault = next((fault for fault in same if not fault["type"].endswith("_type")), faults[0])
    # A union names its members in the path: "stop.list[str]" is the field "stop".
    where = ".".join(part for part in map(str, fault["loc"]) if part.isidentifier() or part.isdigit())
    where = where.removesuffix(".str").removesuffix(".int")
    if fault["type"] == "json_invalid" or not where:
        return f"The body is not valid: {fault['msg']}", None
    return f"{where}: {fault['msg']}", where


def _code(error: PromptflowException) -> str | None:
    if isinstance(error, PromptTooLongError):
        return "context_length_exceeded"
    if isinstance(error, (AdapterNotFoundError, NotServedError)):
        return "model_not_found"
    return None


def check_task(engine: Engine, task: str, otherwise: str) -> None:
    """UnsupportedError, where the model was not made for ``task``."""
    if task not in engine.tasks:
        raise UnsupportedError(f"The model '{engine.model}' {otherwise}.")
