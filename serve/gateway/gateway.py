"""The gateway: from a request to an endpoint to the answer of one of its instances."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from serve.gateway.accesslog import AccessLog
from serve.gateway.bounds import check_head, check_pace
from serve.gateway.capture import MAX_PAYLOAD, Captured
from serve.gateway.figures import Figures
from serve.gateway.forward import Answered, Ask, Forward, Send
from serve.gateway.heads import DEPLOYMENT, REQUEST_ID, request_id
from serve.gateway.mirrors import Mirrors
from serve.gateway.paths import Target, error_style
from serve.gateway.protocol import CONNECTION
from serve.gateway.refusals import Refusal, body_of
from serve.gateway.route import Route
from serve.gateway.wire import Headers, LostError
from serve.openai.keys import Account

MAX_BODY = 64 * 1024 * 1024  # bytes, unless the server is told otherwise
BUFFERED = 1024 * 1024  # bytes of a body that are read before an instance is asked; what is longer goes on as it comes
CLIENT_GONE = 499  # nginx's number for it

logger = logging.getLogger(__name__)


class Gateway:
    """Answers requests to the endpoints in ``routes``, which is replaced as a whole when anything changes."""

    def __init__(self, access: AccessLog | None = None, max_body: int = MAX_BODY) -> None:
        self.routes: Mapping[str, Route] = {}
        self.figures = Figures()
        self.mirrors = Mirrors(self.figures)
        self.access = access
        self.max_body = max_body

    async def answer(self, target: Target, scope: Any, receive: Any, send: Send) -> None:
        """One request, whatever becomes of it."""
        await Exchange(self, target, scope, receive, send).run()


class Exchange:
    """One request and its answer."""

    def __init__(self, gateway: Gateway, target: Target, scope: Any, receive: Any, send: Send) -> None:
        self.gateway, self.target, self.scope, self.receive, self.send = gateway, target, scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = request_id(self.headers)
        self.endpoint, self.deployment = target.endpoint, ""
        self.account: Account | None = None
        self.answered = Answered()
        self.begun = time.perf_counter()
        self.received = 0
        self.gone = False
        self.unread = False  # part of the body is still to come

    async def run(self) -> None:
        task, connection = asyncio.current_task(), self.scope.get(CONNECTION)
        assert task is not None
        if connection is not None:
            connection.on_lost = self._hang_up(task)
        try:
            await self._answer()
        except Refusal as refusal:
            await self._refuse(refusal)
        except LostError:
            await self._break_off(connection)
        except ConnectionResetError:
            self.answered.status = CLIENT_GONE
        except asyncio.CancelledError:
            if not self.gone:
                raise
            task.uncancel()
            self.answered.status = CLIENT_GONE
        except Exception:
            logger.exception("a request to %s failed", self.endpoint)
            await self._refuse(Refusal(500, "SystemError", "The gateway failed; its log says why."))
        finally:
            if connection is not None:
                connection.on_lost = None
            if self.account is not None:
                self.account.end(0)
            self._note()

    async def _answer(self) -> None:
        check_head(self.scope)
        if self.endpoint:
            route = self._enter()
            body, more = await self._body()
        else:
            body, more = await self._body()
            self.endpoint = _model_of(body)
            route = self._enter()
        self.deployment = route.choose(self.headers)
        scope = self.scope
        length = len(body) if more is None else _length_of(self.headers)
        ask = Ask(
            scope["method"], self.target.path, scope["query_string"], scope["headers"], body, self.id, length, more
        )
        capture = route.captures.get(self.deployment)
        captured = capture is not None and capture.wants()
        self.answered.keep = MAX_PAYLOAD if captured else 0
        assert self.account is not None
        extra = self.account.headers()
        await Forward(ask, route.lanes[self.deployment], self.deployment, self.send, extra, self.answered).run()
        if captured:
            self._capture(route, body, whole=more is None)
        if route.mirror.shares and more is None:
            self.gateway.mirrors.send(route, ask)

    def _enter(self) -> Route:
        route = self.gateway.routes.get(self.endpoint)
        if route is None:
            name, self.endpoint = self.endpoint, ""  # what strangers make up does not get into the figures
            raise Refusal(404, "NotFound", f"There is no endpoint '{name[:64]}'.")
        self.account = route.door.enter(self.scope["headers"])
        return route

    async def _body(self) -> tuple[bytes, Callable[[], Any] | None]:
        """The body, and what gives the rest of a long one."""
        limit = self.gateway.max_body
        announced = self.headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            raise self._too_large()
        data, more = await self._piece()
        if not more:
            return data, None
        parts = [data]
        while more and self.received <= BUFFERED:
            data, more = await self._piece()
            parts.append(data)
            if more:
                check_pace(self.received, time.perf_counter() - self.begun)
        return b"".join(parts), self._rest() if more else None

    def _rest(self) -> Callable[[], Any]:
        ended = False

        async def rest() -> bytes:
            nonlocal ended
            data = b""
            while not ended and not data:
                data, more = await self._piece()
                ended = not more
            return data

        return rest

    async def _piece(self) -> tuple[bytes, bool]:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        data: bytes = message.get("body", b"")
        self.received += len(data)
        self.unread = message.get("more_body", False)
        if self.received > self.gateway.max_body:
            raise self._too_large()
        return data, self.unread

    def _too_large(self) -> Refusal:
        limit = self.gateway.max_body
        return Refusal(413, "RequestTooLarge", f"A request may have up to {limit} bytes.")

    async def _refuse(self, refusal: Refusal) -> None:
        if self.answered.started:
            return await self._break_off(self.scope.get(CONNECTION))
        self.answered.status = refusal.status
        body = body_of(refusal, error_style(self.target.path))
        headers: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(REQUEST_ID, self.id), *refusal.headers.items()]
        if self.unread or refusal.status in (413, 431):
            headers.append((b"connection", b"close"))
        if self.deployment:
            headers.append((DEPLOYMENT, self.deployment.encode("latin-1", "replace")))
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _break_off(self, connection: Any) -> None:
        """The instance died in the middle of a long answer: the client must not take the half for the whole."""
        self.answered.status = 502
        if connection is not None:
            connection.on_lost = None
            connection.transport.abort()
            await asyncio.sleep(0)

    def _hang_up(self, task: asyncio.Task[Any]) -> Callable[[], None]:
        def lost() -> None:
            self.gone = True
            task.cancel()

        return lost

    def _capture(self, route: Route, body: bytes, whole: bool) -> None:
        capture, answered = route.captures[self.deployment], self.answered
        kept = {name.decode(): self.headers[name].decode("latin-1") for name in capture.headers if name in self.headers}
        capture.add(
            Captured(
                id=self.id.decode(),
                at=time.time(),
                path=self.target.path.decode("latin-1"),
                status=answered.status,
                media=self.headers.get(b"content-type", b"").decode("latin-1"),
                request=body if whole else None,
                request_size=self.received,
                answer_media=answered.media.decode("latin-1"),
                answer=b"".join(answered.kept) if answered.size <= MAX_PAYLOAD else None,
                answer_size=answered.size,
                headers=kept,
            )
        )

    def _note(self) -> None:
        seconds = time.perf_counter() - self.begun
        answered, gateway = self.answered, self.gateway
        gateway.figures.count(self.endpoint, self.deployment, answered.status, seconds)
        if answered.retries:
            gateway.figures.retries[self.endpoint, self.deployment] += answered.retries
        if gateway.access is not None:
            key = self.account.key.name if self.account is not None else ""
            gateway.access.add((
                time.time(), self.id, self.endpoint, self.deployment, self.scope["method"], self.target.path,
                answered.status, seconds, self.received, answered.size, key, self.scope.get("client"),
            ))  # fmt: skip


def _model_of(body: bytes) -> str:
    """The endpoint that an OpenAI request names as its model."""
    try:
        found = orjson.loads(body)
    except ValueError as error:
        raise Refusal(400, "BadArgument", f"The body is no JSON: {error}.") from None
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, str) or not model:
        raise Refusal(400, "BadArgument", "The body names no model: it is the name of an endpoint.")
    return model


def _length_of(headers: Mapping[bytes, bytes]) -> int | None:
    announced = headers.get(b"content-length")
    return int(announced) if announced is not None else None
