"""Heads of requests and answers on their way through: what is passed on, and what ends here."""

from __future__ import annotations

import os
import re

from serve.gateway.wire import Headers

REQUEST_ID = b"x-request-id"
DEPLOYMENT = b"azureml-model-deployment"
MODEL_STATUS = b"ms-azureml-model-error-statuscode"
FAILED_DEPENDENCY = 424

_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
# The key is for this door only: the user's code, and what it logs, has no business with it.
_NOT_ASKED = _HOP | {b"host", b"content-length", b"expect", b"authorization", b"api-key", REQUEST_ID}
_NOT_ANSWERED = _HOP | {b"date", b"server", REQUEST_ID, DEPLOYMENT}
_PLAIN_CONNECTION = frozenset((b"keep-alive", b"close", b""))


def request_id(headers: dict[bytes, bytes]) -> bytes:
    """The client's own, if it has one that may stand in a header and a log; else a new one."""
    given = headers.get(REQUEST_ID) or headers.get(b"x-ms-client-request-id")
    return given if given and _ID.fullmatch(given) else os.urandom(16).hex().encode()


def request_head(method: str, path: bytes, query: bytes, headers: Headers, length: int | None, id: bytes) -> bytes:
    """The head of a request to an instance; a ``length`` of None is a body in chunks."""
    dropped = _NOT_ASKED | _named(headers)
    lines = [method.encode(), b" ", path, b"?" if query else b"", query, b" HTTP/1.1\r\nhost: instance\r\n"]
    for name, value in headers:
        if name not in dropped:
            lines += (name, b": ", value, b"\r\n")
    lines.append(b"content-length: %d\r\n" % length if length is not None else b"transfer-encoding: chunked\r\n")
    lines += (REQUEST_ID, b": ", id, b"\r\n\r\n")
    return b"".join(lines)


def answer_headers(headers: Headers, id: bytes, deployment: str) -> Headers:
    """The headers of an instance's answer as the client gets them."""
    kept = [pair for pair in headers if pair[0] not in _NOT_ANSWERED]
    kept.append((REQUEST_ID, id))
    kept.append((DEPLOYMENT, deployment.encode()))
    return kept


def answer_status(status: int, headers: Headers) -> int:
    """424 where the user's code or model failed, as Azure has it: the server itself is well."""
    return FAILED_DEPENDENCY if status >= 500 and any(name == MODEL_STATUS for name, _ in headers) else status


def content_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def _named(headers: Headers) -> frozenset[bytes]:
    """The headers that ``Connection`` says are for the next hop only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()
