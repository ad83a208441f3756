"""Calls of our own transport on a tape: recorded as they end, retries and all, or answered from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from promptflow.exceptions import WrappedOpenAIError
from promptflow.llm.endpoints import Endpoint
from promptflow.llm.failures import Failure, from_status, user_error
from promptflow.llm.sse import EventParser
from promptflow.llm.transport import Events, ToError
from promptflow.tape.answer import body_of
from promptflow.tape.current import Tape
from promptflow.tape.player import Player
from promptflow.tape.recorder import Call, Recorder
from promptflow.tape.request import Request
from promptflow.tracing.aside import aside


async def exchange(
    tape: Tape,
    method: str,
    target: Endpoint,
    data: bytes | None,
    live: Callable[[ToError], Awaitable[dict[str, Any]]],
    to_error: ToError,
) -> dict[str, Any]:
    """One request and its whole answer. Raises what ``to_error`` makes of a failure, live or recorded."""
    request = Request.of(method, target.url, data)
    if isinstance(tape, Player):
        return _answered(tape.answer(request), to_error)
    call = _begin(tape, request, target)
    with aside():  # the HTTP library below is not to record it once more
        answer = await live(_noting(call, to_error))
    call.end({"status": 200, "json": answer})
    return answer


async def stream(tape: Tape, target: Endpoint, data: bytes, live: Callable[[ToError], Awaitable[Events]]) -> Events:
    """One request whose answer comes in events."""
    request = Request.of("POST", target.url, data)
    if isinstance(tape, Player):
        return _Replayed(tape.answer(request))
    call = _begin(tape, request, target)
    with aside():
        return _Recording(await live(_noting(call, user_error)), call)


def _begin(tape: Tape, request: Request, target: Endpoint) -> Call:
    assert isinstance(tape, Recorder)
    tape.scrubber.add([target.secret])
    return tape.begin(request, target.url, target.headers)


def _noting(call: Call, to_error: ToError) -> ToError:
    def noted(failure: Failure, times: int) -> Exception:
        fields = {key: value for key, value in vars(failure).items() if value}
        call.end({"failure": {**fields, "times": times}})
        return to_error(failure, times)

    return noted


def _answered(answer: dict[str, Any], to_error: ToError) -> dict[str, Any]:
    failure = _failure(answer)
    if failure is not None:
        raise to_error(failure, (answer.get("failure") or {}).get("times", 0))
    value = answer.get("json")
    if not isinstance(value, dict):
        shown = body_of(answer)[:200].decode("utf-8", "replace")
        words = f"The model's server answered with what is no JSON object: {shown!r}"
        raise to_error(Failure("APIResponseValidationError", words), 0)
    return value


def _failure(answer: dict[str, Any]) -> Failure | None:
    if "failure" in answer:
        return Failure(**{key: value for key, value in answer["failure"].items() if key != "times"})
    status = answer.get("status", 200)  # what another HTTP library recorded
    return from_status(status, body_of(answer)) if status >= 300 else None


class _Recording:
    """Events that are handed on as they come, and kept."""

    def __init__(self, events: Events, call: Call) -> None:
        self._events = events
        self._call = call
        self._kept: list[dict[str, Any]] = []

    async def read(self) -> list[dict[str, Any]] | None:
        try:
            events = await self._events.read()
        except WrappedOpenAIError as error:
            fields = {"kind": error.kind, "message": error.message, "status": error.status_code, "hint": error.hint}
            self._call.end({"status": 200, "events": self._kept, "broken": fields})
            raise
        if events is None:
            self._call.end({"status": 200, "events": self._kept})
        else:
            self._kept += events
        return events

    def close(self) -> None:
        self._call.end({"status": 200, "events": self._kept})
        self._events.close()


class _Replayed:
    """The events of a tape, one by one."""

    def __init__(self, answer: dict[str, Any]) -> None:
        failure = _failure(answer)
        if failure is not None:
            raise user_error(failure, (answer.get("failure") or {}).get("times", 0))
        self._left = deque(answer["events"] if "events" in answer else _parsed(body_of(answer)))
        self._broken = answer.get("broken")

    async def read(self) -> list[dict[str, Any]] | None:
        if self._left:
            return [self._left.popleft()]
        if self._broken:
            fields = dict(self._broken)
            raise WrappedOpenAIError(
                fields["message"], kind=fields["kind"], status_code=fields["status"], hint=fields["hint"]
            )
        return None

    def close(self) -> None:
        self._left.clear()


def _parsed(data: bytes) -> list[dict[str, Any]]:
    import json

    parser = EventParser()
    found = [*parser.feed(data), *parser.end()]
    return [{"done": True} if event == b"[DONE]" else json.loads(event) for event in found]
