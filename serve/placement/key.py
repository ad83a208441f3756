"""The key of an instance that listens on a network: all who ask it anything show it, but for probes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from promptflow.exceptions import UserErrorException
from serve.gateway.paths import error_style
from serve.gateway.refusals import Refusal, body_of
from serve.openai.keys import given_key

KEY = "PF_INSTANCE_KEY"  # a variable
SHORTEST = 16  # characters
ALIVE, READY = "/", "/ready"  # open to probes, and nothing but that they are there is told
_NO_KEY = Refusal(401, "Unauthorized", "A request to this instance needs its key: Authorization: Bearer KEY")
_SHOWN = (b"authorization", b"api-key")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def take_key(environ: MutableMapping[str, str]) -> str:
    """The key, which is taken out of ``environ``: the user's code has no business with it. UserErrorException."""
    key = environ.pop(KEY, "")
    if len(key) < SHORTEST:
        raise UserErrorException(
            f"{KEY} is {'too short' if key else 'not set'}: an instance on a network needs a key that requests show.",
            hint=f"{KEY}=$(openssl rand -hex 24), {SHORTEST} characters at least",
        )
    return key


class Guarded:
    """Lets requests with the key through to an ASGI application, without it. Keys are compared in constant time."""

    def __init__(self, app: Asgi, key: str) -> None:
        self._app = app
        self._digest = hashlib.sha256(key.encode()).digest()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in (ALIVE, READY):
            await _answer(send, 200, b"text/plain", b"Healthy" if scope["path"] == ALIVE else b"Ready")
        elif hmac.compare_digest(hashlib.sha256(given_key(scope["headers"])).digest(), self._digest):
            headers = [pair for pair in scope["headers"] if pair[0] not in _SHOWN]
            await self._app({**scope, "headers": headers}, receive, send)
        else:
            body = body_of(_NO_KEY, error_style(scope["path"].encode()))
            await _answer(send, _NO_KEY.status, b"application/json", body)


async def _answer(send: Any, status: int, media: bytes, body: bytes) -> None:
    head = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
