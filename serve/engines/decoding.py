"""What engines that decode rows have in common: a request becomes a row, its pieces come back as they are made."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from serve.engines.base import AdapterNotFoundError, Engine, EngineClosedError, Piece, Request
from serve.engines.prompts import Prompts
from serve.engines.row import Row


@dataclass
class Tally:
    """Counts since the engine was loaded. Changed on the callers' event loops only."""

    asked: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def inside(self) -> int:
        return self.asked - self.finished - self.failed


class DecodingEngine(Engine):
    """Leaves to its kinds how rows are run: ``_submit`` hands one in, ``_withdraw`` says that nobody waits for it."""

    prompts: Prompts

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.tally = Tally()
        self._open = False

    @abstractmethod
    def _submit(self, row: Row) -> None: ...

    @abstractmethod
    def _withdraw(self, row: Row) -> None: ...

    def _adapter(self, name: str) -> int:
        """The number of a loaded adapter, which is in use until the row is withdrawn; 0 for the base model."""
        if name:
            raise AdapterNotFoundError(f"The model '{self.model}' has no adapter '{name}'.")
        return 0

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        if not self._open:
            raise EngineClosedError(f"The model '{self.model}' is not loaded.")
        row = await self.prompts.row(request)
        if row.limit <= 0:
            yield Piece("", len(row.prompt), 0, "length")
            return
        row.adapter = self._adapter(request.adapter)
        self.tally.asked += 1
        self.tally.prompt_tokens += len(row.prompt)
        try:
            self._submit(row)
            while True:
                piece = await self._next(row)
                yield piece
                if piece.finish:
                    return
        finally:
            self.tally.completion_tokens += row.count
            self.tally.failed += row.failed
            self.tally.finished += not row.failed
            row.cancelled = True
            self._withdraw(row)

    async def _next(self, row: Row) -> Piece:
        """The next piece; those that came while the caller was busy are joined to it."""
        piece = _raised(await row.outbox.get())
        while not piece.finish and not row.outbox.empty():
            more = _raised(row.outbox.get_nowait())
            text, logprobs, calls = (
                piece.text + more.text,
                piece.logprobs + more.logprobs,
                piece.tool_calls + more.tool_calls,
            )
            piece = replace(more, text=text, logprobs=logprobs, tool_calls=calls)
        return piece


def _raised(piece: Piece | BaseException) -> Piece:
    if isinstance(piece, BaseException):
        raise piece
    return piece


def deliver(rows: Iterable[Row]) -> None:
    """Hand the new pieces to the event loops that wait for them, with one wake-up per loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[tuple[Row, Piece]]] = {}
    for row in rows:
        if (piece := row.said()) is not None:
            waiting.setdefault(row.loop, []).append((row, piece))
    for loop, pieces in waiting.items():
        try:
            loop.call_soon_threadsafe(put_all, pieces)
        except RuntimeError:  # that loop is closed; nobody waits any more
            for row, _ in pieces:
                row.cancelled = True


def put_all(pieces: list[tuple[Row, Piece]]) -> None:
    for row, piece in pieces:
        row.outbox.put_nowait(piece)
