"""``POST /score``: a request, the flow, an answer. Bare ASGI, for this is the path that every request takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from promptflow.exceptions import FlexFlowExecutionError, NotAcceptable, PayloadTooLarge, PromptflowException
from promptflow.serving.answers import answer_of, error_of, event, is_stream, json_bytes, stream_of
from promptflow.serving.loaded import ServedFlow
from promptflow.serving.remote_trace import traced_request
from promptflow.serving.requests import Asked, inputs_of, read_headers
from promptflow.serving.work import ClientGone, Line, Worker
from promptflow.workspace.redact import redacted

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 100 * 2**20  # bytes; pictures come inline
WATCH_AFTER = 0.25  # seconds of work before somebody looks whether the client is there: short work pays nothing

logger = logging.getLogger(__name__)


class Score:
    """The endpoint of one flow."""

    def __init__(self, flow: ServedFlow, worker: Worker) -> None:
        self.flow, self.worker = flow, worker
        self.message_format = flow.definition.message_format

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        asked = read_headers(scope["headers"])
        run_id = asked.run_id
        reply = Reply(send, run_id, asked)
        try:
            inputs = inputs_of(self.flow, await _body(receive))
            if not asked.takes_json and not asked.streams:
                raise _not_acceptable(asked, "text/event-stream, application/json")
            await self._answer(inputs, asked, run_id, receive, reply)
        except ClientGone:
            logger.info("request %s: the client hung up", run_id)
        except asyncio.CancelledError:
            await reply.fail(503, {"error": {"code": "SystemError", "message": "The server was told to end."}})
            raise
        except Exception as error:
            await self._fail(error, run_id, reply)

    async def _answer(self, inputs: dict[str, Any], asked: Asked, run_id: str, receive: Receive, reply: Reply) -> None:
        with traced_request(asked, run_id):
            line = self.worker.start(inputs, run_id, asked.streams)
        with _Watch(line, receive) as watch:
            result = await line.result
            if result.exception is not None:
                raise result.exception
            answer = answer_of(self.flow, result.output)
            if not asked.streams:
                # a plain function that returned an async generator: only the flow's own loop can join it
                await reply.whole(json_bytes(await self._joined(answer), self.message_format))
                return
            try:
                stream = stream_of(answer)
            except PromptflowException:
                self._close_streams(answer)
                raise
            if stream is not None:
                await self._stream(*stream, watch, reply)
            elif asked.takes_json:
                await reply.whole(json_bytes(answer, self.message_format))
            else:
                raise _not_acceptable(asked, "application/json")

    async def _stream(self, name: str, source: Any, others: dict[str, Any], watch: _Watch, reply: Reply) -> None:
        items = self.worker.items(source)
        async with contextlib.aclosing(items):  # type: ignore[type-var]
            await reply.start_events()
            watch.interrupts(asyncio.current_task())
            if others:
                await reply.event(event(others, self.message_format))
            try:
                async for item in items:
                    await reply.event(event({name: item}, self.message_format))
            except Exception as error:
                raise self._of_the_flow(error) from error
            await reply.end()

    async def _joined(self, answer: Any) -> Any:
        if is_stream(answer):
            try:
                return "".join([str(item) async for item in self.worker.items(answer)])
            except Exception as error:
                raise self._of_the_flow(error) from error
        if isinstance(answer, dict) and any(map(is_stream, answer.values())):
            return {key: await self._joined(value) if is_stream(value) else value for key, value in answer.items()}
        return answer

    def _of_the_flow(self, error: Exception) -> PromptflowException:
        """What a stream ends with is raised by the flow's code, outside of its nodes."""
        return error if isinstance(error, PromptflowException) else FlexFlowExecutionError(
            flow_name=self.flow.name, error=error
        )  # fmt: skip

    def _close_streams(self, answer: Any) -> None:
        for value in answer.values() if isinstance(answer, dict) else (answer,):
            if is_stream(value):
                self.worker.close(value)

    async def _fail(self, error: Exception, run_id: str, reply: Reply) -> None:
        status, body = error_of(error)
        if status >= 500:
            logger.error("request %s failed\n%s", run_id, _without_keys("".join(traceback.format_exception(error))))
        else:
            logger.warning("request %s: %s", run_id, _without_keys(body["error"]["message"]))
        await reply.fail(status, body)


class Reply:
    """The one answer to a request."""

    def __init__(self, send: Send, run_id: str, asked: Asked) -> None:
        self._send = send
        self._headers = [(b"x-request-id", run_id.encode("latin-1"))]
        if asked.client_request_id:
            self._headers.append((b"x-ms-client-request-id", asked.client_request_id.encode("latin-1")))
        self._streaming = False

    async def whole(self, content: bytes, status: int = 200) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            *self._headers,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": content})

    async def start_events(self) -> None:
        self._streaming = True
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._headers,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def event(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, status: int, body: dict[str, Any]) -> None:
        """As an answer, or as the last event of one that has begun."""
        if not self._streaming:
            await self.whole(json_bytes(body), status)
            return
        await self.event(event(body))
        await self.end()


class _Watch:
    """Looks whether the client is still there, once a request has taken a while, until the block ends."""

    def __init__(self, line: Line, receive: Receive) -> None:
        self._line, self._receive = line, receive
        self._task: asyncio.Task[None] | None = None
        self._interrupted: asyncio.Task[Any] | None = None
        self._gone = False

    def __enter__(self) -> _Watch:
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._begin)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if isinstance(error, asyncio.CancelledError) and self._gone:
            assert self._interrupted is not None
            self._interrupted.uncancel()
            raise ClientGone from None

    def interrupts(self, task: asyncio.Task[Any] | None) -> None:
        """From now on a client that hangs up cancels ``task``: the line has ended, its stream is being read."""
        self._interrupted = task
        self._timer.cancel()
        if self._gone:
            raise ClientGone
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._line.hang_up()
        if self._interrupted is not None:
            self._interrupted.cancel()


def _without_keys(text: str) -> str:
    return redacted(text.encode("utf-8", "replace")).decode("utf-8")


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return body
    return await _long_body(receive, message)


async def _long_body(receive: Receive, message: Message) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise PayloadTooLarge(f"The request's body is larger than {MAX_BODY // 2**20} MiB.")
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _not_acceptable(asked: Asked, supported: str) -> NotAcceptable:
    return NotAcceptable(
        f"The answer cannot be {asked.accept!r}, which the Accept header asks for: it can be {supported}."
    )
