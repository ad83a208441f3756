"""Door: an error as a response, the way people's own web services around a flow build one."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import Any

from promptflow.exceptions import error_to_dict

__all__ = ["ErrorResponse", "ExceptionPresenter"]


class ExceptionPresenter:
    def __init__(self, ex: BaseException) -> None:
        self._ex = ex

    @classmethod
    def create(cls, ex: BaseException) -> ExceptionPresenter:
        return cls(ex)

    @property
    def formatted_traceback(self) -> str:
        return "".join(traceback.format_exception(self._ex))

    def to_dict(self, *, include_debug_info: bool = False) -> dict[str, Any]:
        return error_to_dict(self._ex, include_debug_info)


class ErrorResponse:
    """The JSON of an error with its HTTP status: 400 for what the user did, 500 for the rest."""

    def __init__(self, error_dict: dict[str, Any]) -> None:
        self._error = error_dict

    @staticmethod
    def from_error_dict(error_dict: dict[str, Any]) -> ErrorResponse:
        return ErrorResponse(error_dict)

    @staticmethod
    def from_exception(ex: BaseException, *, include_debug_info: bool = False) -> ErrorResponse:
        return ErrorResponse(error_to_dict(ex, include_debug_info))

    @property
    def message(self) -> str:
        return str(self._error.get("message", ""))

    @property
    def response_code(self) -> HTTPStatus:
        users = self._error.get("code") == "UserError"
        return HTTPStatus.BAD_REQUEST if users else HTTPStatus.INTERNAL_SERVER_ERROR

    def to_simplified_dict(self) -> dict[str, Any]:
        return {"error": {"code": self._error.get("code"), "message": self.message}}

    def to_dict(self) -> dict[str, Any]:
        return {"error": self._error}
