"""Text -> vector."""

from __future__ import annotations

import base64
import struct
from enum import StrEnum
from typing import Any

from promptflow.connections.models import ServerlessConnection
from promptflow.exceptions import LLMError
from promptflow.llm import transport
from promptflow.llm.calls import EMBEDDINGS, llm_span
from promptflow.llm.endpoints import endpoint, is_azure, own_model


class EmbeddingModel(StrEnum):
    """Models of old; any other name is as good."""

    TEXT_EMBEDDING_ADA_002 = "text-embedding-ada-002"
    TEXT_SEARCH_ADA_DOC_001 = "text-search-ada-doc-001"
    TEXT_SEARCH_ADA_QUERY_001 = "text-search-ada-query-001"


async def embedding(
    connection: Any, input: Any, deployment_name: str = "", model: str = EmbeddingModel.TEXT_EMBEDDING_ADA_002
) -> list[float]:
    """The vector of ``input``. Azure takes the deployment's name, the others the model's."""
    own = own_model(connection) if model == EmbeddingModel.TEXT_EMBEDDING_ADA_002 else ""  # no local model's name
    name = deployment_name if is_azure(connection) else own or str(model)
    target = await endpoint(connection, EMBEDDINGS, name)
    serverless = isinstance(connection, ServerlessConnection)
    body: dict[str, Any] = {
        "input": [input] if serverless and not isinstance(input, list) else input,
        "model": name,
        "encoding_format": "float" if serverless else "base64",  # a third of the size, where it is known
    }
    with llm_span(EMBEDDINGS, body) as call:
        answer = await transport.post(target, body)
        vector = _floats(answer["data"][0]["embedding"])
        call.set_output(vector)
        call.set_attribute("llm.response.model", str(answer.get("model") or name))
        call.set_usage(answer.get("usage") or {})
        call.add_event("promptflow.embedding.embeddings", [{"embedding.vector": vector, "embedding.text": input}])
        return vector


async def embeddings(connection: Any, texts: list[str], model: str) -> list[list[float]]:
    """The vectors of several texts, in one request. It is no span of its own: the texts may be a whole library."""
    target = await endpoint(connection, EMBEDDINGS, model)
    serverless = isinstance(connection, ServerlessConnection)
    form = "float" if serverless else "base64"
    answer = await transport.post(target, {"input": texts, "model": model, "encoding_format": form})
    data = sorted(answer["data"], key=lambda one: one["index"])
    if len(data) != len(texts):
        raise LLMError(f"The model '{model}' gave {len(data)} vectors for {len(texts)} texts.")
    return [_floats(one["embedding"]) for one in data]


def _floats(vector: list[float] | str) -> list[float]:
    """A vector as the server wrote it: numbers, or little-endian 32-bit floats in base64."""
    if not isinstance(vector, str):
        return vector
    data = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
