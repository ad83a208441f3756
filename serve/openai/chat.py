"""/v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from serve.engines.base import Piece, Request
from serve.openai.answers import Answer, events, total, usage
from serve.openai.bodies import ChatBody, CompletionBody
from serve.openai.choices import copies, generate
from serve.openai.errors import check_task
from serve.openai.exchange import Exchange
from serve.openai.service import Service
from serve.router import Use


async def chat(exchange: Exchange, service: Service) -> None:
    body = await exchange.read(ChatBody)
    with exchange.ended_by_hangup():
        async with service.use(exchange, body.model) as use:
            await _answer(exchange, use, body, [body.request(use.engine.inputs, use.adapter)], chat=True)


async def completions(exchange: Exchange, service: Service) -> None:
    body = await exchange.read(CompletionBody)
    with exchange.ended_by_hangup():
        async with service.use(exchange, body.model) as use:
            await _answer(exchange, use, body, body.requests(use.adapter), chat=False)


async def _answer(
    exchange: Exchange, use: Use, body: ChatBody | CompletionBody, requests: Sequence[Request], *, chat: bool
) -> None:
    """All choices of all requests, generated at the same time; as one body or as a stream."""
    check_task(use.engine, "generate", "generates no text")
    number = body.n or 1
    answer = Answer.begin(use.name, chat)
    every = copies(requests, number)
    last: dict[int, Piece] = {}
    async with aclosing(generate(use.engine, every)) as pieces:  # type: ignore[type-var]
        heard = _heard(pieces, last, exchange)
        try:
            if body.stream:
                # The first piece is awaited here, so that a request which cannot be served gets its status code.
                begun = _resumed(await anext(heard), heard)
                await exchange.events(events(answer, begun, body.with_usage, lambda: total(last, number)))
            else:
                said: list[list[Piece]] = [[] for _ in every]
                async for index, piece in heard:
                    said[index].append(piece)
                choices = [answer.whole(index, words) for index, words in enumerate(said)]
                await exchange.json({**answer.body(choices), "usage": usage(*total(last, number))})
        finally:
            exchange.tally.prompt_tokens, exchange.tally.completion_tokens = total(last, number)


async def _heard(
    pieces: AsyncIterator[tuple[int, Piece]], last: dict[int, Piece], exchange: Exchange
) -> AsyncIterator[tuple[int, Piece]]:
    """The same pieces; ``last`` holds the latest one of each answer."""
    async for index, piece in pieces:
        exchange.first()
        last[index] = piece
        yield index, piece


async def _resumed(
    first: tuple[int, Piece], rest: AsyncIterator[tuple[int, Piece]]
) -> AsyncIterator[tuple[int, Piece]]:
    yield first
    async for item in rest:
        yield item
