"""Asking an engine in a test: the whole answer, or many at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from serve.engines.base import Engine, Piece, Request, Sampling


def chat(text: str, system: str = "Classify the intent of the message.", **sampling: Any) -> Request:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return Request(messages=messages, sampling=Sampling(**sampling))


def plain(prompt: str, **sampling: Any) -> Request:
    return Request(prompt=prompt, sampling=Sampling(**sampling))


async def pieces(engine: Engine, request: Request) -> list[Piece]:
    return [piece async for piece in engine.generate(request)]


def ask(engine: Engine, request: Request) -> list[Piece]:
    return asyncio.run(pieces(engine, request))


def text_of(said: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in said)


def ask_all(engine: Engine, requests: Sequence[Request]) -> list[str]:
    """The answers to requests made at once."""

    async def all_of_them() -> list[str]:
        return [text_of(said) for said in await asyncio.gather(*(pieces(engine, request) for request in requests))]

    return asyncio.run(all_of_them())
