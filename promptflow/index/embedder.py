"""The model that makes the vectors of an index: texts -> an array."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promptflow.connections.provider import get_connection
from promptflow.exceptions import ValidationException
from promptflow.index import words
from promptflow.llm.embedding import embeddings
from promptflow.llm.endpoints import exact_model
from promptflow.workspace import Workspace
from promptflow.workspace.optional import need

SETTING = "index.model"
BATCH = 32  # texts of a request
AT_ONCE = 4  # requests


@dataclass(frozen=True)
class Embedder:
    """``model`` behind ``connection``; ``exact`` is the same with its version. Of `words.NAME`, ``rarity`` is what its
    index has learnt of words."""

    model: str
    connection: str = ""
    exact: str = ""
    rarity: Any = None

    @classmethod
    def of(cls, model: str, connection: str, workspace: Workspace) -> Embedder:
        """The model's name is looked up now, and its version kept. Without one: the setting's, else `words`."""
        model = model or str(workspace.settings.get(SETTING) or words.NAME)
        if model == words.NAME:
            return cls(model, exact=model)
        connection = connection or "local"
        return cls(model, connection, exact_model(get_connection(connection, workspace), model))

    async def embed(
        self, texts: Sequence[str], workspace: Workspace, told: Callable[[int], None] = lambda done: None
    ) -> tuple[Any, Embedder]:
        """Float32 [texts, dimensions], and the embedder for questions to them. ``told`` hears how many are done."""
        numpy = need("numpy", extra="rag")
        if self.model == words.NAME:
            vectors, rarity = words.word_vectors(texts, self.rarity)
            told(len(texts))
            return vectors, Embedder(self.model, exact=self.exact, rarity=rarity)
        connection = await asyncio.to_thread(get_connection, self.connection, workspace)
        places = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def some(start: int) -> list[list[float]]:
            nonlocal done
            async with places:
                found = await embeddings(connection, list(texts[start : start + BATCH]), self.model)
            done += len(found)
            told(done)
            return found

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(some(start)) for start in range(0, len(texts), BATCH)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the others were cancelled
        found = [vector for task in tasks for vector in task.result()]
        if len({len(vector) for vector in found}) > 1:
            raise ValidationException(f"The model '{self.model}' makes vectors of different lengths.")
        vectors = numpy.asarray(found, numpy.float32)
        if not numpy.isfinite(vectors).all():
            raise ValidationException(f"The model '{self.model}' makes vectors with numbers that are none.")
        return vectors, self
