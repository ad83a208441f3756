"""Several answers at the same time: all choices of all prompts of one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from serve.engines.base import Engine, EngineFailedError, Piece, Request


def copies(requests: Sequence[Request], count: int) -> list[Request]:
    """``count`` of each request. With a seed, each copy gets one of its own, or all choices would be the same."""
    return [_copy(request, number) for request in requests for number in range(count)]


def _copy(request: Request, number: int) -> Request:
    seed = request.sampling.seed
    if number == 0 or seed is None:
        return request
    return replace(request, sampling=replace(request.sampling, seed=(seed + number) % 2**63))


async def generate(engine: Engine, requests: Sequence[Request]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of all answers as they come, each with the index of its answer. The first error ends them all."""
    if len(requests) == 1:
        finished = False
        async with aclosing(engine.generate(requests[0])) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                finished = bool(piece.finish)
                yield 0, piece
        if not finished:
            raise cut_short(engine)
        return
    queue: asyncio.Queue[tuple[int, Piece] | Exception] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(engine, request, at, queue)) for at, request in enumerate(requests)]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            left -= bool(item[1].finish)
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    engine: Engine, request: Request, index: int, queue: asyncio.Queue[tuple[int, Piece] | Exception]
) -> None:
    finished = False
    try:
        async with aclosing(engine.generate(request)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                finished = bool(piece.finish)
                queue.put_nowait((index, piece))
        if not finished:
            raise cut_short(engine)
    except Exception as error:
        queue.put_nowait(error)


def cut_short(engine: Engine) -> EngineFailedError:
    return EngineFailedError(f"The engine of '{engine.model}' stopped in the middle of an answer.")
