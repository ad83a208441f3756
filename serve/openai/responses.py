"""/v1/responses."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson

from serve.engines.base import Piece
from serve.openai.choices import generate
from serve.openai.errors import check_task, described
from serve.openai.exchange import Exchange
from serve.openai.response_bodies import ResponseBody
from serve.openai.response_items import Items
from serve.openai.service import Service


async def create(exchange: Exchange, service: Service) -> None:
    body = await exchange.read(ResponseBody)
    with exchange.ended_by_hangup():
        before = list[dict[str, Any]]()
        if body.previous_response_id:
            before = service.responses.get(body.previous_response_id, exchange.key, "previous_response_id").items
        async with service.use(exchange, body.model) as use:
            check_task(use.engine, "generate", "generates no text")
            request = body.request(before, use.engine.inputs, use.adapter)
            response = begun(body, use.name)
            async with aclosing(generate(use.engine, [request])) as pieces:  # type: ignore[type-var]
                first = await anext(pieces)
                stream = _events(exchange, response, _heard(exchange, first[1], pieces))
                if body.stream:
                    await exchange.events(_encoded(exchange, response, stream))
                else:
                    async for _ in stream:
                        pass
                    await exchange.json(response)
    if body.store is not False and response["status"] in ("completed", "incomplete"):
        service.responses.add(exchange.key, response, [*before, *body.items(), *response["output"]])


async def show(exchange: Exchange, service: Service, identity: str) -> None:
    await exchange.json(service.responses.get(identity, exchange.key).body)


async def delete(exchange: Exchange, service: Service, identity: str) -> None:
    service.responses.get(identity, exchange.key)
    del service.responses.kept[identity]
    await exchange.json({"id": identity, "object": "response", "deleted": True})


def begun(body: ResponseBody, model: str) -> dict[str, Any]:
    """A response that has said nothing yet, with the settings that it was asked with."""
    form = {"type": "text"}
    if body.text is not None and body.text.format is not None:
        form = body.text.format.model_dump(by_alias=True, exclude_none=True)
    chosen = body.tool_choice
    return {
        "id": f"resp_{secrets.token_hex(16)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "model": model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": {"format": form},
        "tool_choice": "auto" if chosen is None else chosen if isinstance(chosen, str) else chosen.model_dump(),
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "top_p": body.top_p,
        "truncation": "disabled",
        "usage": None,
    }


async def _heard(exchange: Exchange, first: Piece, rest: AsyncIterator[tuple[int, Piece]]) -> AsyncIterator[Piece]:
    exchange.first()
    _count(exchange, first)
    yield first
    async for _, piece in rest:
        _count(exchange, piece)
        yield piece


def _count(exchange: Exchange, piece: Piece) -> None:
    exchange.tally.prompt_tokens, exchange.tally.completion_tokens = piece.prompt_tokens, piece.completion_tokens


async def _events(
    exchange: Exchange, response: dict[str, Any], pieces: AsyncIterator[Piece]
) -> AsyncIterator[dict[str, Any]]:
    """All events of a response; ``response`` itself is complete at their end."""
    items = Items()
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    finish = ""
    async for piece in pieces:
        finish = piece.finish
        for event in items.push(piece):
            yield event
    status = "incomplete" if finish == "length" else "completed"
    for event in items.end(status):
        yield event
    tally = exchange.tally
    response.update(status=status, output=items.done, usage=usage(tally.prompt_tokens, tally.completion_tokens))
    if status == "incomplete":
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    yield {"type": f"response.{status}", "response": response}


async def _encoded(
    exchange: Exchange, response: dict[str, Any], events: AsyncIterator[dict[str, Any]]
) -> AsyncIterator[bytes]:
    """Numbered server-sent events. An error on the way ends them in the way that this API has for it."""
    number = 0
    try:
        async for event in events:
            yield encode({**event, "sequence_number": number})
            number += 1
    except Exception as error:
        fault = described(error)[1]["error"]
        response.update(status="failed", error={"code": "server_error", "message": fault["message"]})
        yield encode({"type": "response.failed", "response": response, "sequence_number": number})
        exchange.fault_told = True
        raise


def encode(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + completion_tokens,
    }
