"""Answers of the gateway's own: what went wrong, in the words of each dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class Refusal(Exception):
    """The gateway's answer where no instance's is there: a status, a code that programs read, and a sentence."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})


def body_of(refusal: Refusal, style: str) -> bytes:
    """JSON: OpenAI's and Azure's clients read ``error.message``, tritonclient ``error``, MLflow's ``message``."""
    shaped: dict[str, Any]
    match style:
        case "inference":
            shaped = {"error": refusal.message}
        case "mlflow":
            shaped = {"error_code": refusal.code, "message": refusal.message}
        case _:
            kind = "invalid_request_error" if refusal.status < 500 else "server_error"
            shaped = {"error": {"code": refusal.code, "message": refusal.message, "type": kind, "param": None}}
    return orjson.dumps(shaped)


def retry_after(seconds: float) -> dict[bytes, bytes]:
    return {b"retry-after": str(max(1, round(seconds + 0.5))).encode()}
