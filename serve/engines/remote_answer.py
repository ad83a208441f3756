"""What a server streams -> pieces of an answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from promptflow.llm.sse import EventParser, EventTooLong
from serve.engines.base import Piece, TokenLogprob, ToolCall
from serve.engines.remote_errors import explained

DONE = b"[DONE]"
FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter"})
GIVEN_UP = frozenset({"abort", "error"})  # the server stopped; this is not the answer's end


class BrokenAnswer(ValueError):
    """What came is no answer: the words say why. ``status`` and ``body`` are the server's, if it told an error."""

    def __init__(self, message: str, status: int = 0, body: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.body = status, body


@dataclass
class Call:
    """A call of a tool while it is written."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Answer:
    """Reads one answer. Its last piece is made by `end`, when the usage is known, too."""

    def __init__(self) -> None:
        self.done = False  # the server says that nothing more will come
        self.finish = ""
        self.prompt_tokens = self.completion_tokens = 0
        self._parser = EventParser()
        self._calls: dict[int, Call] = {}
        self._rest: tuple[str, tuple[TokenLogprob, ...]] = ("", ())  # what came together with the finish

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces in bytes as they come; none at all mean that there will be no more."""
        try:
            events = self._parser.feed(chunk) if chunk else self._parser.end()
        except EventTooLong as error:
            raise BrokenAnswer(f"it sent {error}") from error
        for data in events:
            if data == DONE:
                self.done = True
                return
            piece = self.push(data)
            if piece is not None:
                yield piece
        self.done = not chunk

    def push(self, data: bytes) -> Piece | None:
        """The piece in the data of one event, if there is one."""
        try:
            return self._push(orjson.loads(data))
        except BrokenAnswer:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise BrokenAnswer(f"it sent what cannot be read ({type(error).__name__})") from error

    def _push(self, chunk: Any) -> Piece | None:
        if usage := chunk.get("usage"):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or self.completion_tokens)
        choices = chunk.get("choices")
        if not choices:
            if chunk.get("error") or chunk.get("object") == "error":
                fault = explained(chunk)
                raise BrokenAnswer(fault.message, fault.status, orjson.dumps(chunk))
            return None
        choice = choices[0]
        delta = choice.get("delta") or choice.get("message") or choice
        text = delta.get("content") or delta.get("refusal") or delta.get("text") or ""
        if not isinstance(text, str):
            raise TypeError("text")
        told = choice.get("logprobs")
        logprobs = read_logprobs(told) if told else ()
        if calls := delta.get("tool_calls"):
            self._add(calls)
        finish = choice.get("finish_reason")
        if not usage and (text or logprobs or calls):
            self.completion_tokens += len(logprobs) or 1
        if finish:
            if finish in GIVEN_UP:
                raise BrokenAnswer("it gave up in the middle of the answer")
            self.finish = finish if finish in FINISHES else "stop"
            self._rest = (text, logprobs)
            return None
        if text or logprobs:
            return Piece(text, self.prompt_tokens, self.completion_tokens, "", logprobs)
        return None

    def _add(self, deltas: Sequence[Mapping[str, Any]]) -> None:
        for delta in deltas:
            index, function = delta.get("index"), delta.get("function") or {}
            if index is None:  # some servers tell whole calls, and do not number them
                index = len(self._calls) if delta.get("id") or not self._calls else len(self._calls) - 1
            call = self._calls.setdefault(int(index), Call())
            call.id = call.id or str(delta.get("id") or "")
            call.name = call.name or str(function.get("name") or "")
            call.arguments += function.get("arguments") or ""

    def end(self) -> Piece:
        """The last piece. BrokenAnswer where the server has told of no end."""
        if not self.finish:
            raise BrokenAnswer("it stopped in the middle of the answer")
        text, logprobs = self._rest
        calls = tuple(
            ToolCall(call.id or f"call_{secrets.token_hex(12)}", call.name, call.arguments or "{}")
            for _, call in sorted(self._calls.items())
            if call.name
        )
        finish = "tool_calls" if calls and self.finish == "stop" else self.finish
        return Piece(text, self.prompt_tokens, self.completion_tokens, finish, logprobs, calls)


def read_logprobs(told: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Those of a chat, or those of a plain completion."""
    if entries := told.get("content"):
        return tuple(
            TokenLogprob(
                entry["token"],
                float(entry["logprob"]),
                tuple((top["token"], float(top["logprob"])) for top in entry.get("top_logprobs") or ()),
            )
            for entry in entries
        )
    tokens, values = told.get("tokens") or (), told.get("token_logprobs") or ()
    tops = told.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        TokenLogprob(token, float(value or 0.0), tuple((name, float(one)) for name, one in (top or {}).items()))
        for token, value, top in zip(tokens, values, tops, strict=True)
    )
