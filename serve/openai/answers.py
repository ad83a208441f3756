"""Pieces of an engine -> bodies of the chat and completions APIs, whole or as a stream of chunks."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serve.engines.base import Piece, TokenLogprob, ToolCall
from serve.openai.exchange import DONE

LEAST = -9999.0  # stands for a probability of zero, whose logarithm JSON cannot say


@dataclass(frozen=True)
class Answer:
    """What all chunks of one answer have in common; ``chat`` says which of the two APIs asked."""

    id: str
    created: int
    model: str
    chat: bool

    @classmethod
    def begin(cls, model: str, chat: bool) -> Answer:
        return cls(("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12), int(time.time()), model, chat)

    def body(self, choices: list[dict[str, Any]], chunk: bool = False) -> dict[str, Any]:
        kind = "text_completion" if not self.chat else "chat.completion.chunk" if chunk else "chat.completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def whole(self, index: int, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        calls = [call for piece in pieces for call in piece.tool_calls]
        content = {"message": message(text, calls)} if self.chat else {"text": text}
        logprobs = self.logprobs([entry for piece in pieces for entry in piece.logprobs])
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": pieces[-1].finish}

    def part(self, index: int, piece: Piece, calls_before: int = 0) -> dict[str, Any]:
        logprobs = self.logprobs(piece.logprobs) if piece.logprobs else None
        end = {"logprobs": logprobs, "finish_reason": piece.finish or None}
        if not self.chat:
            return {"index": index, "text": piece.text, **end}
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.tool_calls:
            calls = enumerate(piece.tool_calls, start=calls_before)
            delta["tool_calls"] = [{"index": number, **call_body(call)} for number, call in calls]
        return {"index": index, "delta": delta, **end}

    def logprobs(self, entries: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not entries:
            return None
        if self.chat:
            return {"content": [logprob_body(entry) for entry in entries], "refusal": None}
        return {
            "tokens": [entry.token for entry in entries],
            "token_logprobs": [max(entry.logprob, LEAST) for entry in entries],
            "top_logprobs": [{token: max(value, LEAST) for token, value in entry.top} for entry in entries],
        }


def message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    result: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        result["tool_calls"] = [call_body(call) for call in calls]
    return result


def call_body(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprob_body(entry: TokenLogprob) -> dict[str, Any]:
    return {**_named(entry.token, entry.logprob), "top_logprobs": [_named(*top) for top in entry.top]}


def _named(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": max(logprob, LEAST), "bytes": list(token.encode())}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def total(last: dict[int, Piece], per_prompt: int) -> tuple[int, int]:
    """Tokens of prompts and answers over all choices; a prompt that several choices share counts once."""
    prompts = sum(piece.prompt_tokens for index, piece in last.items() if index % per_prompt == 0)
    return prompts, sum(piece.completion_tokens for piece in last.values())


async def events(
    answer: Answer, pieces: AsyncIterator[tuple[int, Piece]], with_usage: bool, spent: Callable[[], tuple[int, int]]
) -> AsyncIterator[bytes]:
    """Server-sent events of all choices as they come. ``spent`` tells the tokens of the whole answer at its end."""
    opened: set[int] = set()
    calls: Counter[int] = Counter()
    async for index, piece in pieces:
        if answer.chat and index not in opened:
            opened.add(index)
            opening = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            yield event(answer.body([opening], chunk=True))
        if piece.text or piece.finish or piece.logprobs or piece.tool_calls:
            yield event(answer.body([answer.part(index, piece, calls[index])], chunk=True))
        if piece.tool_calls:
            calls[index] += len(piece.tool_calls)
    if with_usage:
        yield event({**answer.body([], chunk=True), "usage": usage(*spent())})
    yield DONE


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
