"""What a server refused -> errors that tell whoever asked, in its words and with its status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from promptflow.exceptions import PromptflowException, UserErrorException
from serve.engines.base import PromptTooLongError
from serve.engines.remote_place import Place

LONGEST = 2000  # characters of a server's words that are passed on
TOO_LONG = re.compile(r"(?i)context (?:length|window|size)|max_model_len|prompt is too long|maximum input length")
PASSED_ON = ("retry-after", "retry-after-ms")
GATEWAY = {503: 503, 504: 504, 529: 503}  # what stays what it is; any other failure over there is a 502 here


class RemoteError(UserErrorException):
    """The server said no. ``headers`` tell when to come again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status, self.code, self.param, self.headers = status, code, param, dict(headers or {})
        self.kind = "invalid_request_error" if status < 500 else "server_error"
        if status == 429:
            self.kind = "rate_limit_error"


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], place: Place, model: str, route: str
) -> PromptflowException:
    """The error for an answer that is none. Never with a key in it."""
    fault = explained(body)
    words = place.hide(fault.message)[:LONGEST] or "it gave no reason"
    server = f"The server of '{model}' ({place})"
    if status in (400, 413, 422) and (fault.code == "context_length_exceeded" or TOO_LONG.search(fault.message)):
        return PromptTooLongError(words)
    told = {name: headers[name] for name in PASSED_ON if name in headers}
    if status in (401, 403):
        text = f"{server} did not take the key that this server has for it ({status}): {words}"
        return RemoteError(status, text, code="upstream_key_refused")
    if status == 404:
        text = f"{server} has no such model, or no {route}: {words}"
        return RemoteError(404, text, code=fault.code or "model_not_found")
    if 300 <= status < 400:
        return RemoteError(502, f"{server} sends us elsewhere ({status}): give the address that it means.")
    if status < 300:
        return RemoteError(502, f"{server} sent no answer ({status}): {words}")
    if status >= 500:
        return RemoteError(GATEWAY.get(status, 502), f"{server} failed ({status}): {words}", headers=told)
    return RemoteError(status, words, code=fault.code, param=fault.param, headers=told)


class Fault:
    """What the body of an error says."""

    def __init__(self, message: str, code: str | None = None, param: str | None = None, status: int = 0) -> None:
        self.message, self.code, self.param, self.status = message, code, param, status


def explained(body: bytes | Mapping[str, Any]) -> Fault:
    """Bodies come in many shapes; whatever text is in there is kept."""
    if isinstance(body, bytes):
        try:
            data: Any = orjson.loads(body)
        except ValueError:
            return Fault(body.decode("utf-8", "replace").strip())
    else:
        data = body
    error = data.get("error", data) if isinstance(data, Mapping) else data
    if not isinstance(error, Mapping):
        return Fault(_text(error))
    message = error.get("message") or error.get("detail") or data.get("message") or error
    code, status = error.get("code"), error.get("code") or error.get("status")
    return Fault(
        _text(message),
        code if isinstance(code, str) and not code.isdigit() else None,
        error["param"] if isinstance(error.get("param"), str) else None,
        status if isinstance(status, int) and not isinstance(status, bool) else 0,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
