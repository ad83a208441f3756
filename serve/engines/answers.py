"""Pieces of an engine → bodies of the OpenAI API, whole or as a stream of chunks."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from serve.engines.base import Piece, TokenLogprob


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
        content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        logprobs = self.logprobs([entry for piece in pieces for entry in piece.logprobs])
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": pieces[-1].finish}

    def part(self, index: int, piece: Piece) -> dict[str, Any]:
        content = {"delta": {"content": piece.text} if piece.text else {}} if self.chat else {"text": piece.text}
        logprobs = self.logprobs(piece.logprobs)
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": piece.finish or None}

    def logprobs(self, entries: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not entries:
            return None
        if self.chat:
            return {
                "content": [
                    {**_named(e.token, e.logprob), "top_logprobs": [_named(*top) for top in e.top]} for e in entries
                ]
            }
        return {
            "tokens": [e.token for e in entries],
            "token_logprobs": [e.logprob for e in entries],
            "top_logprobs": [dict(e.top) for e in entries],
        }


def _named(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


async def events(
    answer: Answer, pieces: AsyncIterator[tuple[int, Piece]], prompt_counts: int, with_usage: bool
) -> AsyncIterator[bytes]:
    """Server-sent events of all choices as they come. ``prompt_counts``: how many choices share one prompt."""
    last: dict[int, Piece] = {}
    async for index, piece in pieces:
        if index not in last and answer.chat:
            opening = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            yield event(answer.body([opening], chunk=True))
        last[index] = piece
        if piece.text or piece.finish or piece.logprobs:
            yield event(answer.body([answer.part(index, piece)], chunk=True))
    if with_usage:
        yield event({**answer.body([], chunk=True), "usage": total(last, prompt_counts)})
    yield b"data: [DONE]\n\n"


def total(last: dict[int, Piece], per_prompt: int) -> dict[str, int]:
    """Usage over all choices; a prompt that several choices share counts once."""
    prompts = sum(piece.prompt_tokens for index, piece in last.items() if index % per_prompt == 0)
    return usage(prompts, sum(piece.completion_tokens for piece in last.values()))


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
