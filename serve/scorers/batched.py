"""A model whose requests are predicted together, as an ASGI application."""

from __future__ import annotations

from typing import Any

from serve.scorers.app import ScorerApp
from serve.scorers.base import Answer, Call
from serve.scorers.batching import Batcher, Batching
from serve.scorers.model import ModelScorer


class BatchedApp(ScorerApp):
    """Bodies are read and written on the event loop, between batches; one batch is predicted at a time."""

    def __init__(self, scorer: ModelScorer, batching: Batching) -> None:
        super().__init__(scorer, at_once=1)
        self._model = scorer
        self._batcher = Batcher(scorer.predict, batching, self.threads)

    async def _scored(self, call: Call, receive: Any) -> Answer:
        read = self._model.read(call)
        if isinstance(read, Answer):
            return read
        return read.write(await self._batcher.submit(self._model.rows(read.inputs), read.inputs))
