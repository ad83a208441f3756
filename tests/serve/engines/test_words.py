"""`builtin/words`: embeddings without a model."""

from __future__ import annotations

import asyncio

import pytest

from promptflow.connections.provider import get_connection
from promptflow.llm import background
from promptflow.llm.embedding import embeddings
from promptflow.workspace import Workspace
from serve.engines import builtin_models, open_engine
from serve.engines.base import Request, UnsupportedError

pytest.importorskip("numpy")
FACTS = ["A refund is paid within five days.", "The shop opens at nine.", "Lost parcels are sent again."]


def test_texts_that_share_words_are_near_each_other() -> None:
    engine = open_engine("builtin/words")
    assert "builtin/words" in builtin_models() and engine.tasks == {"embed", "rerank"}
    made = asyncio.run(engine.embed([*FACTS, "when is the refund paid?"])).vectors
    near = [sum(a * b for a, b in zip(vector, made[-1], strict=True)) for vector in made]
    assert near.index(max(near[:-1])) == 0 and near[-1] == pytest.approx(1)
    scores = asyncio.run(engine.rerank("my parcel is lost", FACTS))
    assert scores.scores.index(max(scores.scores)) == 2 and scores.prompt_tokens == 21


def test_it_reads_texts_only_and_writes_none() -> None:
    engine = open_engine("builtin/words")
    with pytest.raises(UnsupportedError, match="no token ids"):
        asyncio.run(engine.embed([[1, 2]]))

    async def generate() -> None:
        async for _ in engine.generate(Request(prompt="x")):
            pass

    with pytest.raises(UnsupportedError, match="no text"):
        asyncio.run(generate())


def test_the_local_connection_serves_it_without_any_download(home: object) -> None:
    workspace = Workspace.open()
    try:
        (vector,) = background.run(embeddings(get_connection("local", workspace), ["a refund"], "builtin/words"))
        assert len(vector) == 2048
    finally:
        for process in workspace.processes.list():
            workspace.processes.stop(process.name)
