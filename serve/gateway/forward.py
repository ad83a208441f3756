"""One request on its way to an instance of a deployment, and the answer on its way back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from serve.gateway.heads import answer_headers, answer_status, content_length, request_head
from serve.gateway.instance import Instance
from serve.gateway.lane import AbsentError, BusyError, Lane
from serve.gateway.refusals import Refusal, retry_after
from serve.gateway.wire import Connection, Headers, LostError

ATTEMPTS = 4  # instances that are asked, if one after the other dies over it
AGAIN_SECONDS = 5.0  # until it is worth asking again where no instance is ready, at the least
WHOLE = 256 * 1024  # bytes of an answer that is kept until it is whole: until then, another instance can be asked

Send = Callable[[dict[str, Any]], Awaitable[None]]
More = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class Ask:
    """A request as an instance gets it. ``more`` gives what of the body is still to come, and then nothing; such a
    request can be sent once only. ``length`` is None for chunks."""

    method: str
    path: bytes
    query: bytes
    headers: Headers
    body: bytes
    id: bytes
    length: int | None
    more: More | None = None

    def first(self) -> bytes:
        """What of the body goes with the head."""
        return b"%x\r\n%s\r\n" % (len(self.body), self.body) if self.length is None else self.body

    def head(self) -> bytes:
        return request_head(self.method, self.path, self.query, self.headers, self.length, self.id)


class Answered:
    """What came back; ``kept`` is the body, as far as ``keep`` bytes of it were asked for."""

    __slots__ = ("kept", "keep", "media", "retries", "size", "started", "status")

    def __init__(self, keep: int = 0) -> None:
        self.keep = keep
        self.kept: list[bytes] = []
        self.status = self.size = self.retries = 0
        self.media = b""
        self.started = False  # the client has the head of the answer

    def count(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= self.keep:
            self.kept.append(data)


class Forward:
    """Asks one instance, and another one if it dies before the client has got anything."""

    def __init__(self, ask: Ask, lane: Lane, deployment: str, send: Send, extra: Headers, answered: Answered) -> None:
        self.ask, self.lane, self.deployment, self.send = ask, lane, deployment, send
        self.extra, self.answered = extra, answered
        self._late = False
        self._sent = 0  # instances that may have had a look at it
        self._connection: Connection | None = None
        self._sender: asyncio.Task[object] | None = None

    async def run(self) -> None:
        """Refusal for all that is no answer of an instance; LostError if one died in the middle of its answer."""
        while True:
            instance = await self._turn()
            try:
                return await self._at(instance)
            except LostError as lost:
                self._lost(instance, lost)
            finally:
                self.lane.free(instance)

    async def _turn(self) -> Instance:
        try:
            return await self.lane.take()
        except BusyError:
            wait = self.lane.settings.queue_wait
            message = f"'{self.deployment}' is busy: no instance was free within {wait:g} s."
            raise Refusal(429, "TooManyRequests", message, retry_after(wait)) from None
        except AbsentError:
            again = retry_after(max(AGAIN_SECONDS, self.lane.pause))
            raise Refusal(503, "NoInstance", f"No instance of '{self.deployment}' is ready.", again) from None

    def _lost(self, instance: Instance, lost: LostError) -> None:
        """What to say when the instance hung up, if there is to be no other attempt."""
        if self._late:
            instance.timeouts += 1
            raise Refusal(
                408, "RequestTimeout", f"'{self.deployment}' took longer than {self.lane.settings.timeout:g} s."
            ) from None
        if self.answered.started:
            raise lost
        instance.hang_up()
        if lost.sent:
            instance.doubt()  # one that is ending takes connections for a moment yet, and loses them all
        self.answered.retries += 1
        self._sent += lost.sent
        if (lost.sent and self.ask.more is not None) or self._sent >= ATTEMPTS:
            raise Refusal(
                502, "InstanceLost", f"An instance of '{self.deployment}' ended while it was at it."
            ) from None

    async def _at(self, instance: Instance) -> None:
        loop = asyncio.get_running_loop()
        connection = self._connection = await instance.connection(fresh=self.ask.more is not None)
        timer = loop.call_later(self.lane.settings.timeout, self._expire)
        try:
            connection.ask(self.ask.head(), self.ask.first())
            if self.ask.more is not None:
                await self._send_in_time(connection)
            await connection.head()
            length = content_length(connection.headers)
            if self.ask.method == "HEAD":
                return await self._start(connection, [], end=True)
            if length is not None and length <= WHOLE:
                await self._whole(connection)
            else:
                timer = await self._stream(connection, timer)
            instance.timeouts = 0
        finally:
            timer.cancel()
            instance.give_back(connection)

    def _expire(self) -> None:
        self._late = True
        if self._sender is not None:
            self._sender.cancel()  # it waits for the client, and would not see that the connection is closed
        if self._connection is not None:
            self._connection.close()

    async def _send_in_time(self, connection: Connection) -> None:
        self._sender = asyncio.current_task()
        try:
            await self._send_rest(connection)
        except asyncio.CancelledError:
            if not self._late:
                raise
            assert self._sender is not None
            self._sender.uncancel()
            raise LostError(begun=False) from None
        finally:
            self._sender = None

    async def _send_rest(self, connection: Connection) -> None:
        """The body as it comes. An instance that answers before has made up its mind."""
        assert self.ask.more is not None
        chunked = self.ask.length is None
        while not connection.answering:
            data = await self.ask.more()
            if chunked:
                await connection.write(b"%x\r\n%s\r\n" % (len(data), data))
            elif data:
                await connection.write(data)
            if not data:
                return
        connection.cut_off = True

    async def _whole(self, connection: Connection) -> None:
        parts = []
        while not connection.complete:
            parts.append(await connection.read())
        parts.append(await connection.read())
        await self._start(connection, parts, end=True)

    async def _stream(self, connection: Connection, timer: asyncio.TimerHandle) -> asyncio.TimerHandle:
        """The answer as it comes. From its beginning on, the time limit is for each pause in it."""
        loop = asyncio.get_running_loop()
        try:
            await self._start(connection, [], end=False)
            while data := await connection.read():
                timer.cancel()
                self.answered.count(data)
                await self.send({"type": "http.response.body", "body": data, "more_body": True})
                timer = loop.call_later(self.lane.settings.timeout, self._expire)
        except BaseException:
            timer.cancel()
            raise
        await self.send({"type": "http.response.body", "body": b""})
        return timer

    async def _start(self, connection: Connection, parts: list[bytes], end: bool) -> None:
        answered, headers = self.answered, connection.headers
        answered.status = answer_status(connection.status, headers)
        answered.media = next((value for name, value in headers if name == b"content-type"), b"")
        answered.started = True
        every = answer_headers(headers, self.ask.id, self.deployment)
        if self.extra:
            every += self.extra
        if connection.cut_off:
            every.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": answered.status, "headers": every})
        if end:
            body = b"".join(parts)
            answered.count(body)
            await self.send({"type": "http.response.body", "body": body})
