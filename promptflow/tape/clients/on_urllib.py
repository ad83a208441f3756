"""urllib.request: the one place where its handlers open a connection."""

from __future__ import annotations

import functools
import io
from email.message import Message
from typing import Any

from promptflow.tape.clients.intercept import Answer, intercept


def patch(module: Any) -> None:
    original = module.AbstractHTTPHandler.do_open
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def do_open(self: Any, http_class: Any, req: Any, **kwargs: Any) -> Any:
        headers = {**req.headers, **req.unredirected_hdrs}
        taken = intercept(req.get_method(), req.full_url, headers, lambda: _read(req))
        if taken is None:
            return original(self, http_class, req, **kwargs)
        if isinstance(taken, Answer):
            return _response(module, req, taken)
        try:
            with original(self, http_class, req, **kwargs) as response:
                body = response.read()
        except BaseException as error:
            taken.failed(error)
            raise
        taken.answered(response.status, dict(response.headers), body)
        return _result(module, req, response.status, response.headers, body)

    module.AbstractHTTPHandler.do_open = do_open


def _read(request: Any) -> bytes | str | None:
    """The body; a file or a generator is read, and sent from memory."""
    data = request.data
    if data is None or isinstance(data, bytes | bytearray):
        return bytes(data) if data is not None else None
    request.data = data.read() if hasattr(data, "read") else b"".join(data)
    return request.data  # type: ignore[no-any-return]


def _response(module: Any, request: Any, answer: Answer) -> Any:
    if answer.failure is not None:
        raise module.URLError(TimeoutError(answer.failure[1]) if answer.timed_out else OSError(answer.failure[1]))
    headers = Message()
    for name, value in answer.headers.items():
        headers[name] = value
    return _result(module, request, answer.status, headers, answer.body)


def _result(module: Any, request: Any, status: int, headers: Message, body: bytes) -> Any:
    from http.client import responses

    result = module.addinfourl(io.BytesIO(body), headers, request.full_url, status)
    result.msg = result.reason = responses.get(status, "")
    return result
