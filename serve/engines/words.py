"""`builtin/words`: vectors of the words in texts, for whoever asks for embeddings before there is a model for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from promptflow.index.words import FEATURES, word_vectors
from promptflow.workspace.optional import need
from serve.engines.base import Engine, Piece, Request, Scores, UnsupportedError, Vectors


class WordsEngine(Engine):
    """For an embedding every word counts the same: how rare one is, only an index knows, or the documents that are to
    be ranked."""

    tasks = frozenset({"embed", "rerank"})

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        raise UnsupportedError(f"The model '{self.model}' makes embeddings, no text.")
        yield  # what makes it a generator

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        given = _texts(texts, self.model)
        numpy = need("numpy", extra="cpu")
        vectors, _ = await asyncio.to_thread(word_vectors, given, numpy.ones(FEATURES, numpy.float32))
        return Vectors(vectors.tolist(), _words(given))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        scores = await asyncio.to_thread(_compared, query, documents)
        return Scores(scores.tolist(), _words([query, *documents]))


def _compared(query: str, documents: Sequence[str]) -> Any:
    vectors, rarity = word_vectors(documents)
    asked, _ = word_vectors([query], rarity)
    return vectors @ asked[0]


def _texts(given: Sequence[str | Sequence[int]], model: str) -> list[str]:
    if not all(isinstance(text, str) for text in given):
        raise UnsupportedError(f"The model '{model}' knows texts, no token ids.")
    return [str(text) for text in given]


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)
