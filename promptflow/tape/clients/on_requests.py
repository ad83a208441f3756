"""requests: its adapter. A streamed answer is read whole while it is recorded."""

from __future__ import annotations

import functools
import io
from typing import Any

from promptflow.tape.clients.intercept import Answer, intercept

_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")  # the body is decoded


def patch(module: Any) -> None:
    original = module.HTTPAdapter.send
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        taken = intercept(request.method, request.url, request.headers, lambda: _read(request))
        if taken is None:
            return original(self, request, *args, **kwargs)
        if isinstance(taken, Answer):
            return _response(self, request, taken)
        request.headers["Accept-Encoding"] = "identity"
        try:
            response = original(self, request, *args, **kwargs)
            body = response.raw.read(decode_content=True)
        except BaseException as error:
            taken.failed(error)
            raise
        headers = {k: v for k, v in response.headers.items() if k.lower() not in _OF_THE_WIRE}
        taken.answered(response.status_code, headers, body)
        response.raw.release_conn()
        response.raw = _raw(response.status_code, headers, body, response.reason)
        return response

    module.HTTPAdapter.send = send


def _read(request: Any) -> bytes | str | None:
    """The body; a file or a generator is read, and sent from memory."""
    body = request.body
    if body is None or isinstance(body, bytes | str):
        return body
    data = body.read() if hasattr(body, "read") else b"".join(body)
    request.body = data
    return data


def _response(adapter: Any, request: Any, answer: Answer) -> Any:
    if answer.failure is not None:
        from requests import exceptions

        error = exceptions.Timeout if answer.timed_out else exceptions.ConnectionError
        raise error(answer.failure[1], request=request)
    return adapter.build_response(request, _raw(answer.status, answer.headers, answer.body, None))


def _raw(status: int, headers: dict[str, str], body: bytes, reason: str | None) -> Any:
    from urllib3 import HTTPResponse  # requests stands on it

    return HTTPResponse(io.BytesIO(body), headers, status, reason=reason, preload_content=False)
