"""One call of gRPC as a request to the gateway, which knows nothing of gRPC, and what it heard back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import orjson

from serve.gateway.gateway import Gateway
from serve.gateway.heads import DEPLOYMENT, REQUEST_ID
from serve.gateway.paths import Target
from serve.gateway.protocol import CONNECTION
from serve.gateway.refusals import Refusal
from serve.gateway.wire import Headers

LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
# of the transport, or about a body that is made anew here
_DROPPED = frozenset(("te", "host", "content-type", "content-length", "content-encoding", "accept-encoding", "expect"))
_TOLD = frozenset((REQUEST_ID, DEPLOYMENT, b"retry-after"))
_TOLD_START = (b"x-ratelimit-", b"ms-azureml-")

Metadata = tuple[tuple[str, str], ...]


class Heard:
    """The gateway's answer to one request. It is also what the gateway takes for the client's connection: ``on_lost``
    is called when the caller has gone, and ``transport.abort`` when the answer broke off."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.on_lost: Callable[[], None] | None = None
        self.transport = self
        self._parts: list[bytes] = []

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self._parts.append(message.get("body", b""))

    def abort(self) -> None:
        self.status = 502
        self._parts = [b'{"error":"The instance ended in the middle of its answer."}']

    @property
    def body(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """The JSON head of the body, and the bytes after it."""
        length = self._header(LENGTH)
        body = self.body
        return (body[: int(length)], body[int(length) :]) if length else (body, b"")

    @property
    def deployment(self) -> str:
        """Which one answered."""
        return self._header(DEPLOYMENT).decode("latin-1")

    @property
    def metadata(self) -> Metadata:
        """What of the headers the caller is told."""
        kept = [(name, value) for name, value in self.headers if name in _TOLD or name.startswith(_TOLD_START)]
        return tuple((name.decode("latin-1"), _plain(value)) for name, value in kept)

    @property
    def error(self) -> str:
        """What went wrong, in a sentence."""
        try:
            told = orjson.loads(self.body)["error"]
            return str(told["message"] if isinstance(told, dict) else told)
        except (ValueError, KeyError, TypeError):
            return f"The instance answered {self.status}."

    def _header(self, wanted: bytes) -> bytes:
        return next((value for name, value in self.headers if name == wanted), b"")


async def ask(
    gateway: Gateway, context: Any, name: str, version: str, verb: str, parts: tuple[bytes, bytes] | None = None
) -> Heard:
    """What the endpoint ``name`` says to ``/v2/models/NAME`` + ``verb``. ``version`` is a deployment, or nothing.

    A caller who hangs up, or whose time is over, hangs up on the instance, too.
    """
    if not name:
        raise Refusal(400, "BadArgument", "The request names no model: it is the name of an endpoint.")
    head, rest = parts or (b"", b"")
    headers = headers_of(context.invocation_metadata() or ())
    if parts is not None:
        headers += [(b"content-type", BINARY), (LENGTH, str(len(head)).encode())]
    if version:
        _pin(headers, version.encode())
    heard = Heard()
    path = f"/v2/models/{quote(name, safe='')}{verb}"
    scope = {
        "type": "http",
        "http_version": "2",
        "method": "GET" if parts is None else "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": _client(context.peer()),
        CONNECTION: heard,
    }
    target = Target(name, path.encode())
    work = asyncio.create_task(gateway.answer(target, scope, _once(head + rest), heard.send))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        (heard.on_lost or work.cancel)()
        raise
    return heard


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """Metadata as the headers of a request: what is text and not the transport's own."""
    found = []
    for name, value in metadata:
        if isinstance(value, str) and name not in _DROPPED and not name.startswith((":", "grpc-", LENGTH.decode())):
            found.append((name.encode("latin-1", "replace"), _plain(value.encode("latin-1", "replace")).encode()))
    return found


def _pin(headers: Headers, version: bytes) -> None:
    """The version of a model is a deployment of the endpoint."""
    given = next((value for name, value in headers if name == DEPLOYMENT), version)
    if given != version:
        raise Refusal(400, "BadArgument", "The model's version and the metadata name different deployments.")
    headers.append((DEPLOYMENT, version))


def _once(body: bytes) -> Callable[[], Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _client(peer: str) -> tuple[str, int]:
    """``ipv4:127.0.0.1:50123`` or ``ipv6:%5B::1%5D:50123``."""
    host, _, port = peer.partition(":")[2].rpartition(":")
    return host.replace("%5B", "").replace("%5D", ""), int(port) if port.isdigit() else 0


def _plain(value: bytes) -> str:
    """Text that may stand in a header."""
    return "".join(chr(one) if 32 <= one < 127 else "?" for one in value)
