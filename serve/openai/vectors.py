"""/v1/embeddings and /v1/rerank."""

from __future__ import annotations

import base64
import secrets
from array import array
from collections.abc import Sequence

from serve.openai.bodies import EmbeddingBody, RerankBody, texts
from serve.openai.errors import ApiError, check_task
from serve.openai.exchange import Exchange
from serve.openai.service import Service


async def embeddings(exchange: Exchange, service: Service) -> None:
    body = await exchange.read(EmbeddingBody)
    with exchange.ended_by_hangup():
        async with service.use(exchange, body.model) as use:
            check_task(use.engine, "embed", "makes no embeddings")
            given = texts(body.input)
            if empty := [at for at, text in enumerate(given) if not text]:
                raise ApiError(400, f"input.{empty[0]}: there is nothing in it", param="input")
            made = await use.engine.embed(given)
            exchange.tally.prompt_tokens = made.prompt_tokens
            _check_dimensions(body.dimensions, made.vectors)
            packed = body.encoding_format == "base64"
            data = [
                {"object": "embedding", "index": at, "embedding": pack(vector) if packed else vector}
                for at, vector in enumerate(made.vectors)
            ]
            usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
            await exchange.json({"object": "list", "data": data, "model": use.name, "usage": usage})


async def rerank(exchange: Exchange, service: Service) -> None:
    body = await exchange.read(RerankBody)
    with exchange.ended_by_hangup():
        async with service.use(exchange, body.model) as use:
            check_task(use.engine, "rerank", "does not rank documents")
            documents = body.texts()
            made = await use.engine.rerank(body.query, documents)
            exchange.tally.prompt_tokens = made.prompt_tokens
            order = sorted(range(len(documents)), key=lambda at: (-made.scores[at], at))[: body.top_n]
            results = [
                {"index": at, "relevance_score": made.scores[at]}
                | ({"document": {"text": documents[at]}} if body.return_documents else {})
                for at in order
            ]
            usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
            identity = f"rerank-{secrets.token_hex(12)}"
            await exchange.json({"id": identity, "model": use.name, "results": results, "usage": usage})


def pack(vector: Sequence[float]) -> str:
    """Little-endian float32 in base64: a quarter of the text that the numbers take."""
    return base64.b64encode(array("f", vector).tobytes()).decode()


def _check_dimensions(wanted: int | None, vectors: Sequence[Sequence[float]]) -> None:
    # Only some models are made to have their vectors cut; of the others, what is left would be of little use.
    if wanted is not None and vectors and wanted != len(vectors[0]):
        raise ApiError(400, f"dimensions: this model makes vectors of {len(vectors[0])} numbers", param="dimensions")
