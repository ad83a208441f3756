"""What to do with a call that an HTTP library is about to make: nothing, answer it from the tape, or record it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptflow.exceptions import ReplayMiss
from promptflow.tape.answer import body_of, kept_body
from promptflow.tape.current import current
from promptflow.tape.player import Player
from promptflow.tape.recorder import Call, Recorder
from promptflow.tape.request import Request

_KEPT_HEADERS = ("content-type", "location", "retry-after", "link", "etag")


@dataclass(frozen=True)
class Answer:
    """An answer from the tape. ``failure``: no answer came then; its kind and message."""

    status: int
    headers: dict[str, str]
    body: bytes
    failure: tuple[str, str] | None = None

    @property
    def timed_out(self) -> bool:
        return self.failure is not None and "timeout" in self.failure[0].lower()


class Recording:
    """A call that is made and recorded."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """``body`` as it came over the wire, Content-Encoding and all."""
        lower = {name.lower(): value for name, value in headers.items()}
        kept = {name: lower[name] for name in _KEPT_HEADERS if name in lower}
        content = kept_body(body, lower.get("content-type", ""), lower.get("content-encoding", ""))
        self._call.end({"status": status, "headers": kept, **content})

    def failed(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._call.end({"failure": {"kind": type(error).__name__, "message": str(error) or type(error).__name__}})


def intercept(
    method: str, url: str, headers: Mapping[str, str], read: Callable[[], bytes | str | None]
) -> Answer | Recording | None:
    """None: make the call as if nobody looked. ``read`` gives the request's body. Raises ReplayMiss."""
    tape = current()
    if isinstance(tape, Player):
        return _from_tape(tape, Request.of(method, url, read(), _kind(headers)), headers)
    if isinstance(tape, Recorder) and tape.wants(url, headers):
        return Recording(tape.begin(Request.of(method, url, read(), _kind(headers)), url, headers))
    return None


def _from_tape(tape: Player, request: Request, headers: Mapping[str, str]) -> Answer:
    try:
        answer = tape.answer(request)
    except ReplayMiss as miss:
        if not any(name.lower() == "x-stainless-lang" for name in headers):
            raise
        # SDKs of this make take any exception for a bad connection and try again. An answer like this ends it.
        words = {"error": {"message": f"{miss.message} {miss.hint}", "code": "ReplayMiss"}}
        return Answer(400, {"content-type": "application/json", "x-should-retry": "false"}, body_of({"json": words}))
    failure = answer.get("failure")
    if failure is None:
        return Answer(answer["status"], dict(answer.get("headers") or _headers(answer)), body_of(answer))
    if failure.get("status"):  # what our own transport recorded
        return Answer(failure["status"], {"content-type": "application/json"}, body_of(answer))
    return Answer(0, {}, b"", (str(failure.get("kind")), str(failure.get("message"))))


def _headers(answer: dict[str, Any]) -> dict[str, str]:
    return {"content-type": "text/event-stream" if "events" in answer else "application/json"}


def _kind(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "content-type"), "")
