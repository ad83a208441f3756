"""Before an application: who may not ask is refused unread, and bodies have an end.

FastAPI reads a body before it asks its dependencies, whatever is to come of the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

MAX_BODY = 64 * 1024 * 1024

Answer = Any  # of Starlette's: the workspace does not import it


class Guard:
    """An ASGI middleware. ``refuse`` gives the answer to a request that is not to be read, or None; ``too_large`` the
    one to a request whose body has more than ``limit`` bytes."""

    def __init__(
        self,
        app: Any,
        *,
        refuse: Callable[[Any], Awaitable[Answer | None]],
        too_large: Callable[[], Answer],
        limit: int = MAX_BODY,
    ) -> None:
        self.app = app
        self.refuse = refuse
        self.too_large = too_large
        self.limit = limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = await self.refuse(scope)
        if refusal is not None:
            return await _close_after(refusal, scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        body = None if announced.isdigit() and int(announced) > self.limit else await self._read(receive)
        if body is None:
            return await _close_after(self.too_large(), scope, receive, send)
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Any:
            return next(given, None) or await receive()

        await self.app(scope, again, send)

    async def _read(self, receive: Any) -> bytes | None:
        """The whole body; None if it is too large."""
        parts, size = [], 0
        while True:
            message = await receive()
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self.limit:
                return None
            if not message.get("more_body", False):  # nor has one that says that the client is gone
                return b"".join(parts)


async def _close_after(answer: Answer, scope: Any, receive: Any, send: Any) -> None:
    """What is left of the body is of no use."""
    answer.headers["connection"] = "close"
    await answer(scope, receive, send)
