"""`fake/echo`: answers with what it was told, word by word; the engine that tests and dry runs use."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence

from serve.engines.base import Engine, Piece, Request, Scores, TokenLogprob, ToolCall, Vectors
from serve.engines.text import StopWatch

VECTOR_SIZE = 8


class EchoEngine(Engine):
    """Its tokens are words, each with the white space before it. Asked for JSON it says what it was told where that is
    an object, else ``{"text": what it was told}``; told to call a tool it calls it with that."""

    tasks = frozenset({"generate", "embed", "rerank"})

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        told = told_texts(request)
        prompt_tokens = sum(len(words(text)) for text in told)
        said = told[-1] if told else ""
        if request.tools and request.tool_choice not in ("auto", "none"):
            await asyncio.sleep(0)
            yield Piece("", prompt_tokens, 1, "tool_calls", tool_calls=(called(request, said),))
            return
        if request.sampling.json or request.sampling.json_schema is not None:
            said = as_json(said)
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

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """Equal texts get equal vectors, and that is all they mean."""
        every = [plain(text) for text in texts]
        digests = [hashlib.sha256(text.encode()).digest()[:VECTOR_SIZE] for text in every]
        return Vectors([[byte / 255 for byte in digest] for digest in digests], sum(len(words(t)) for t in every))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """The share of the query's words that a document has."""
        wanted = {*query.lower().split()}
        scores = [len(wanted & {*text.lower().split()}) / max(len(wanted), 1) for text in documents]
        return Scores(scores, sum(len(words(text)) for text in (query, *documents)))


def told_texts(request: Request) -> list[str]:
    """The prompt, or the texts of the messages."""
    if request.messages is None:
        return [plain(request.prompt)]
    return [str(message["content"]) for message in request.messages]


def as_json(said: str) -> str:
    try:
        return said if isinstance(json.loads(said), dict) else json.dumps({"text": said})
    except ValueError:
        return json.dumps({"text": said})


def called(request: Request, said: str) -> ToolCall:
    """A call of the tool that was named, or else of the first one."""
    first = str(request.tools[0]["function"]["name"])
    name = first if request.tool_choice == "required" else request.tool_choice
    return ToolCall("call_echo", name, as_json(said))


def plain(prompt: str | Sequence[int]) -> str:
    """Text as it is; token ids, which mean nothing here, as numbers."""
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)
