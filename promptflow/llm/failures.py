"""What went wrong with one request, under the names that OpenAI's SDK has for it, and the errors users see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from promptflow.exceptions import ExceedMaxRetryTimes, WrappedOpenAIError

REFERENCE = "Error reference: https://platform.openai.com/docs/guides/error-codes/api-errors"

_BY_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}

# What the server's words mean for a flow, where they alone would not help. (words, advice)
_ADVICE = (
    (
        "Unrecognized request argument supplied: functions",
        "this model takes no functions: choose one that does, or a newer api_version of the connection",
    ),
    (
        "The completion operation does not work with the specified model",
        "this model has no completion API: set 'api: chat'",
    ),
    (
        "image_url is only supported by certain models",
        "this model takes no images: choose one with vision",
    ),
    (
        "Principal does not have access to API/Operation",
        "the signed-in identity lacks a role on this Azure OpenAI resource (Cognitive Services OpenAI User)",
    ),
    (
        "messages with role 'tool' must be a response",
        "put 'tool_calls' into the assistant message before, and one 'tool' message per tool_call_id after it",
    ),
    (
        "must be followed by tool messages",
        "put 'tool_calls' into the assistant message before, and one 'tool' message per tool_call_id after it",
    ),
    (
        "'response_format'",
        'response_format is a dictionary such as {"type": "json_object"}, on a model that supports it',
    ),
)

_ADVICE_BY_KIND = {
    "APIConnectionError": "check the address in the connection (base_url or api_base), and that its server runs",
    "APIResponseValidationError": "check the address in the connection: this does not look like OpenAI's API",
    "APITimeoutError": "the server takes too long: raise the timeout, or ask for less",
    "AuthenticationError": "check the key: pf connection update -n NAME --set api_key=…",
    "NotFoundError": "check the model's (or deployment's) name, and the address in the connection",
    "PermissionDeniedError": "this key may not use this model: choose another of either",
    "RateLimitError": "the server's limits are reached: give the connection requests_per_minute, or raise the quota",
}


@dataclass(eq=False)
class Failure(Exception):
    """One failed request. ``status`` is 0 when no answer came; ``dropped``: the connection broke before one;
    ``unreachable``: there was none."""

    kind: str
    message: str
    status: int = 0
    code: str = ""
    param: str = ""
    retry_after: str = ""
    dropped: bool = False
    unreachable: bool = False

    @property
    def overloaded(self) -> bool:
        """Whether fewer requests at once would have helped."""
        return self.retriable and (self.status in (429, 503, 529) or self.kind == "APITimeoutError")

    @property
    def retriable(self) -> bool:
        if self.code == "insufficient_quota":
            return False
        asked_again = self.status >= 500 or self.status in (408, 409, 422, 429)
        return asked_again or self.dropped or self.kind == "APITimeoutError"


def from_status(status: int, body: bytes, retry_after: str = "") -> Failure:
    """The failure that an HTTP error says. Bodies come in many shapes; whatever text is in there is kept, cut short."""
    message, code, param = _explain(body)
    kind = _BY_STATUS.get(status) or ("InternalServerError" if status >= 500 else "APIStatusError")
    return Failure(kind, f"Error code: {status} - {message}", status, code, param, retry_after)


def timed_out() -> Failure:
    return Failure("APITimeoutError", "Request timed out.")


def no_connection(error: Exception) -> Failure:
    return Failure("APIConnectionError", f"Connection error. {error}", unreachable=True)


def broken(error: Exception, *, dropped: bool = True) -> Failure:
    return Failure("APIConnectionError", f"Connection error. {str(error) or type(error).__name__}", dropped=dropped)


def _explain(body: bytes) -> tuple[str, str, str]:
    text = body.decode("utf-8", "replace").strip()
    try:
        data: Any = json.loads(text)
    except ValueError:
        return _cut(text) or "the server gave no reason", "", ""
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or data.get("message")
        code = error.get("code") or error.get("type") or ""
        if error.get("type") == "insufficient_quota":
            code = "insufficient_quota"
        return _cut(_words(message or error)), str(code), str(error.get("param") or "")
    return _cut(_words(error)), "", ""


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= 2000 else text[:2000] + "…"


def user_error(failure: Failure, retries: int = 0) -> WrappedOpenAIError:
    """The error for the user; ``retries``: how often the request was repeated before giving up."""
    advice = next((advice for words, advice in _ADVICE if words in failure.message), "")
    advice = advice or _ADVICE_BY_KIND.get(failure.kind, "")
    text = f"OpenAI API hits {failure.kind}: {failure.message} [{REFERENCE}]"
    if not retries:
        return WrappedOpenAIError(text, status_code=failure.status, kind=failure.kind, hint=advice)
    return ExceedMaxRetryTimes(
        f"Exceed max retry times. {text}", status_code=failure.status, kind=failure.kind, hint=advice
    )
