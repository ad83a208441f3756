"""A language model as a deployment: OpenAI's API, and the same by the paths that clients of other servers ask at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from promptflow.workspace import Workspace
from serve.endpoints.spec import Spec
from serve.offers import Offers
from serve.openai.app import OpenAIApp
from serve.openai.exchange import MAX_BODY
from serve.router import Router

SHORT = frozenset(("/chat/completions", "/completions", "/embeddings", "/responses", "/rerank"))  # Azure's, without /v1
ANY = frozenset(("/score", "/invocations"))  # Azure's and MLflow's: the body tells what is asked for
KINDS = (
    ("messages", "/v1/chat/completions"),
    ("prompt", "/v1/completions"),
    ("query", "/v1/rerank"),
    ("input", "/v1/embeddings"),
)


class LlmApp:
    """The model answers to the endpoint's name, which need not be given; its adapters to theirs."""

    def __init__(self, spec: Spec, name: str) -> None:
        self._spec, self._name = spec, name
        self._app: OpenAIApp | None = None

    def prepare(self) -> None:
        pass

    async def open(self) -> None:
        given = dict(self._spec.options)
        adapters, kind = dict(given.pop("adapters", None) or {}), str(given.pop("engine", "") or "")
        model = str(self._spec.model_path) if self._spec.model_path is not None else self._spec.model
        served = Offers(Workspace.open, kind, given).offer(model, adapters)
        router = Router([replace(served, name=self._name, alias=self._spec.model)])
        await router.preload(self._name)
        self._app = OpenAIApp(router)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._app is not None
        path = scope.get("path", "")
        if path in ANY or path in SHORT:
            body = await _whole(receive)
            if body is None:
                return
            path, body = self._translated(path, body)
            scope, receive = {**scope, "path": path, "raw_path": path.encode()}, _first(body, receive)
        await self._app(scope, receive, send)

    async def close(self) -> None:
        if self._app is not None:
            await self._app.service.router.close()

    def _translated(self, path: str, body: bytes) -> tuple[str, bytes]:
        """The path of OpenAI's API, and the body with the model's name. What is no JSON is left to be refused there."""
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            told = None
        kinds = [target for key, target in KINDS if isinstance(told, dict) and key in told]
        target = f"/v1{path}" if path in SHORT else (*kinds, KINDS[0][1])[0]
        if not isinstance(told, dict) or told.get("model"):
            return target, body
        return target, orjson.dumps({**told, "model": self._name})


async def _whole(receive: Any) -> bytes | None:
    """The body; None if the caller hung up before it was there."""
    parts, size, more = [], 0, True
    while more and size <= MAX_BODY:  # what is longer is refused by who reads it next
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if message["type"] == "http.disconnect":
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _first(body: bytes, receive: Any) -> Callable[[], Any]:
    """``receive`` of a request whose body was read already."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return left.pop() if left else await receive()

    return again
