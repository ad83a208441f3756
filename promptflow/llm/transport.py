"""Requests to models: JSON there and back, retries, streamed answers; everything that goes wrong has a name."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from promptflow.llm import pressure
from promptflow.llm.endpoints import Endpoint
from promptflow.llm.failures import Failure, broken, from_status, no_connection, timed_out, user_error
from promptflow.llm.network import CONNECT_SECONDS, READ_SECONDS
from promptflow.llm.pauses import pause, pauses, turn
from promptflow.llm.plain_http import Connections, Limits, Place, TooLongError, UnreachableError, direct, place_of
from promptflow.llm.retry import RetryPolicy, retry_after_seconds
from promptflow.llm.sse import EventParser, EventTooLong
from promptflow.tape.current import current

if TYPE_CHECKING:
    from promptflow.llm.pool import Response
    from promptflow.llm.throttle import Throttle

logger = logging.getLogger(__name__)

T = TypeVar("T")
ToError = Callable[[Failure, int], Exception]  # the failure, and how often it was repeated

MAX_ERROR_BODY = 64 * 1024
MAX_ANSWER = 256 * 1024 * 1024
_TOO_LONG = f"The answer is larger than {MAX_ANSWER >> 20} MiB."
_LONG_WAIT = 1.0  # seconds for a place among the requests of a minute: fewer lines at once are as fast
DEFAULT_RETRIES = RetryPolicy()
_answered: set[str] = set()  # who answered once and is not there now will be back, as a rule


async def post(
    target: Endpoint,
    body: dict[str, Any],
    *,
    timeout: float | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
    to_error: ToError = user_error,
) -> dict[str, Any]:
    """Send ``body`` as JSON; the answer's JSON. Raises what ``to_error`` makes once the policy gives up."""
    return await _ask("POST", target, encode(body), timeout, retries, to_error)


async def get(
    target: Endpoint,
    *,
    timeout: float | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
    to_error: ToError = user_error,
) -> dict[str, Any]:
    """The JSON object at a URL. Raises as `post`."""
    return await _ask("GET", target, None, timeout, retries, to_error)


async def open_stream(
    target: Endpoint, body: dict[str, Any], *, timeout: float | None = None, retries: RetryPolicy = DEFAULT_RETRIES
) -> Events:
    """Send ``body`` as JSON; the answer comes in events. Retried until it has begun, not after."""
    data = encode(body)

    async def live(to_error: ToError) -> Events:
        once = lambda: _send("POST", target, data, timeout)  # noqa: E731
        return EventStream(await _retrying(once, target, len(data), retries, to_error))

    tape = current()
    if tape is None:
        return await live(user_error)
    from promptflow.llm import taped  # few calls are recorded or replayed

    return await taped.stream(tape, target, data, live)


async def _ask(
    method: str, target: Endpoint, data: bytes | None, timeout: float | None, retries: RetryPolicy, to_error: ToError
) -> dict[str, Any]:
    def live(to_error: ToError) -> Awaitable[dict[str, Any]]:
        once = lambda: _exchange(method, target, data, timeout)  # noqa: E731
        return _retrying(once, target, len(data or b""), retries, to_error)

    tape = current()
    if tape is None:
        return await live(to_error)
    from promptflow.llm import taped  # few calls are recorded or replayed

    return await taped.exchange(tape, method, target, data, live, to_error)


class Events(Protocol):
    """An answer that comes in events."""

    async def read(self) -> list[dict[str, Any]] | None: ...
    def close(self) -> None: ...


class EventStream:
    """The events of an answer, as they arrive. It belongs to the loop that opened it."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._parser = EventParser()

    async def read(self) -> list[dict[str, Any]] | None:
        """The next events, those that arrive together; None at the end. Raises WrappedOpenAIError."""
        try:
            while chunk := await self._response.more():
                if events := [_event(data) for data in self._parser.feed(chunk)]:
                    return events
            return [_event(data) for data in self._parser.end()] or None
        except EventTooLong as error:
            failure = Failure("APIResponseValidationError", f"The answer cannot be read: {error}.")
        except Failure as error:
            failure = error
        self.close()
        raise user_error(failure)

    def close(self) -> None:
        self._response.close()


async def _retrying(
    once: Callable[[], Awaitable[T]], target: Endpoint, size: int, policy: RetryPolicy, to_error: ToError
) -> T:
    """Send until it is answered. ``size``: the body's bytes."""
    unprocessable = 0
    attempt = 0
    while True:
        try:
            if target.throttle is not None:
                return await _throttled(once, target, target.throttle, size)
            if pauses:
                await turn(target.place)
            return await once()
        except Failure as failure:
            failure.message = target.hide(failure.message)
            failure.dropped = failure.dropped or (failure.unreachable and target.url in _answered)
            unprocessable = unprocessable + 1 if failure.status == 422 else 0
            wait = policy.wait(failure, attempt, unprocessable)
            if failure.overloaded:
                _slow_down(target, failure, policy)
            if wait is None:
                raise to_error(policy.explained(failure), attempt) from None
            attempt += 1
            logger.warning(
                "%s: %s Try %d of %d in %.1f s.", failure.kind, failure.message, attempt, policy.retries, wait
            )
            await asyncio.sleep(wait)


def _slow_down(target: Endpoint, failure: Failure, policy: RetryPolicy) -> None:
    """A server has too much to do: batches hear of it, and if it said for how long, nobody asks it until then."""
    asked = retry_after_seconds(failure.retry_after)
    pressure.tell(asked)
    if asked and asked <= policy.longest_wait:
        pause(target.place, asked)


async def _throttled(once: Callable[[], Awaitable[T]], target: Endpoint, throttle: Throttle, size: int) -> T:
    """One request when the connection's limits per minute let it go. What it was in tokens is known afterwards."""
    if pauses:
        await turn(target.place)
    reserved = throttle.estimate(size)
    wait = throttle.reserve(reserved) - time.monotonic()
    if wait > 0:
        pressure.give_time(wait)
        if wait > _LONG_WAIT:
            pressure.tell(wait, refused=False)
        await asyncio.sleep(wait)
    try:
        answer = await once()
    except Failure:
        throttle.settle(size, reserved, 0)
        raise
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if isinstance(usage, dict) and isinstance(usage.get("total_tokens"), int | float):
        throttle.settle(size, reserved, usage["total_tokens"])
    return answer


async def _exchange(method: str, target: Endpoint, data: bytes | None, timeout: float | None) -> dict[str, Any]:
    """One request and its whole answer."""
    place = place_of(method, target.url)
    if place is not None and (connections := await direct()) is not None:
        return await _exchange_plainly(connections, place, target, data, timeout)
    response = await _send(method, target, data, timeout)
    try:
        if response.length > MAX_ANSWER:
            raise Failure("APIResponseValidationError", _TOO_LONG)
        parts = []
        while part := await response.more():
            parts.append(part)
        return _decode(b"".join(parts))
    finally:
        response.release()


async def _exchange_plainly(
    connections: Connections, place: Place, target: Endpoint, data: bytes | None, timeout: float | None
) -> dict[str, Any]:
    limits = Limits(CONNECT_SECONDS, timeout or READ_SECONDS, timeout, MAX_ANSWER, MAX_ERROR_BODY)
    try:
        answer = await connections.ask(place, target.headers, _as_called_there(target, data), limits)
    except TimeoutError as error:
        raise timed_out() from error
    except UnreachableError as error:
        raise no_connection(error) from error
    except ConnectionError as error:
        raise broken(error) from error
    except TooLongError:
        raise Failure("APIResponseValidationError", _TOO_LONG) from None
    if answer.status >= 300:
        raise _refusal(answer.status, answer.headers, answer.body)
    _answered.add(target.url)
    return _decode(answer.body)


async def _send(method: str, target: Endpoint, data: bytes | None, timeout: float | None) -> Response:
    """One request and the beginning of its answer."""
    from promptflow.llm.pool import request  # what goes to plain http:// does without aiohttp

    response = await request(method, target.url, target.headers, _as_called_there(target, data), timeout)
    if response.status < 300:
        _answered.add(target.url)
        return response
    try:
        body = b"" if response.status < 400 else await response.beginning(MAX_ERROR_BODY)
        raise _refusal(response.status, response.headers, body)
    finally:
        response.close()


def _as_called_there(target: Endpoint, data: bytes | None) -> bytes | None:
    """The body with the server's name for the model. Below the tape: a recording keeps the one that the flow has."""
    return encode({**orjson.loads(data), "model": target.model}) if target.model and data is not None else data


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    if status < 400:
        to = headers.get("location", "elsewhere")
        return Failure("APIStatusError", f"The server sends on to {to}: give this address to the connection.", status)
    return from_status(status, body[:MAX_ERROR_BODY], _retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> str:
    milliseconds = headers.get("retry-after-ms", "")  # OpenAI's and Azure's own, and finer
    try:
        return str(float(milliseconds) / 1000)
    except ValueError:
        return headers.get("retry-after", "")


def _event(data: bytes) -> dict[str, Any]:
    if data == b"[DONE]":
        return {"done": True}
    event = _decode(data)
    error = event.get("error")
    if error:
        raise from_status(int(error.get("status") or 0) if isinstance(error, dict) else 0, data)
    return event


def encode(body: dict[str, Any]) -> bytes:
    """A body as JSON; what orjson refuses (huge integers, half a surrogate pair) goes the slow way."""
    try:
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        import json

        return json.dumps(body).encode()


def _decode(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        shown = data[:200].decode("utf-8", "replace")
        raise Failure(
            "APIResponseValidationError", f"The model's server answered with what is no JSON object: {shown!r}"
        )
    return value
