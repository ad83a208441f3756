"""`fake/echo`: answers with what it was told, word by word; the engine that tests and dry runs use."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

from serve.engines.base import Engine, Piece, Request, TokenLogprob
from serve.engines.text import StopWatch


class EchoEngine(Engine):
    """Its tokens are words, each with the white space before it."""

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        said = plain(request.prompt) if request.messages is None else str(request.messages[-1]["content"])
        told = [said] if request.messages is None else [str(message["content"]) for message in request.messages]
        prompt_tokens = sum(len(words(text)) for text in told)
        tokens = words(said)
        limit = len(tokens) if request.sampling.max_tokens is None else request.sampling.max_tokens
        watch = StopWatch(request.sampling.stop)
        for count, token in enumerate(tokens[:limit], start=1):
            await asyncio.sleep(0)
            logprobs = () if request.sampling.logprobs is None else (TokenLogprob(token, 0.0, ((token, 0.0),)),)
            text = watch.push(token)
            if watch.stopped:
                yield Piece(text, prompt_tokens, count, "stop", logprobs)
                return
            yield Piece(text, prompt_tokens, count, "", logprobs)
        finish = "stop" if limit >= len(tokens) else "length"
        yield Piece(watch.rest(), prompt_tokens, min(limit, len(tokens)), finish)


def plain(prompt: str | Sequence[int]) -> str:
    """Text as it is; token ids, which mean nothing here, as numbers."""
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)
