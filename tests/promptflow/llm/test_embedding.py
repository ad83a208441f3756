from __future__ import annotations

from typing import Any

import pytest

from promptflow.connections.models import (
    AzureOpenAIConnection,
    OpenAIConnection,
    SerpConnection,
    ServerlessConnection,
)
from promptflow.exceptions import ToolValidationError
from promptflow.llm import background
from promptflow.llm.embedding import EmbeddingModel, embedding
from promptflow.tracing.spans import capture
from tests.fake_model import ModelServer, Reply


def test_azure_embeds_by_deployment(model_server: ModelServer) -> None:
    connection = AzureOpenAIConnection(api_key="k", api_base=model_server.url, api_version="v1")
    assert background.run(embedding(connection, "text", deployment_name="ada")) == [0.5, -0.25]
    assert model_server.requests[0].path == "/openai/deployments/ada/embeddings?api-version=v1"


def test_openai_embeds_by_model(model_server: ModelServer) -> None:
    connection = OpenAIConnection(api_key="k", base_url=model_server.base_url)
    vector = background.run(embedding(connection, "text", model=EmbeddingModel.TEXT_EMBEDDING_ADA_002))
    assert vector == [0.5, -0.25]
    assert model_server.bodies == [{"input": "text", "model": "text-embedding-ada-002", "encoding_format": "base64"}]


@pytest.mark.parametrize("given", ["text", ["text"]])
def test_serverless_endpoints_take_lists_and_give_numbers(model_server: ModelServer, given: Any) -> None:
    connection = ServerlessConnection(api_key="k", api_base=model_server.url)
    assert background.run(embedding(connection, given, model="m")) == [0.5, -0.25]
    assert model_server.bodies == [{"input": ["text"], "model": "m", "encoding_format": "float"}]


def test_servers_that_know_no_base64_are_fine(model_server: ModelServer) -> None:
    model_server.script(Reply(body={"data": [{"embedding": [1.5]}], "model": "m"}))
    connection = OpenAIConnection(api_key="k", base_url=model_server.base_url)
    assert background.run(embedding(connection, "text", model="m")) == [1.5]


def test_a_call_is_an_embedding_span(model_server: ModelServer) -> None:
    connection = OpenAIConnection(api_key="k", base_url=model_server.base_url)
    with capture() as spans:
        background.run(embedding(connection, "text", model="m"))
    assert (spans[0].name, spans[0].kind) == ("openai_embeddings", "Embedding")
    assert spans[0].attributes["llm.usage.prompt_tokens"] == 3


def test_other_connections_are_refused() -> None:
    with pytest.raises(ToolValidationError):
        background.run(embedding(SerpConnection(api_key="k"), "text"))
