"""Door: embeddings."""

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection, ServerlessConnection
from promptflow.llm import background
from promptflow.llm.embedding import EmbeddingModel
from promptflow.llm.embedding import embedding as _embedding
from promptflow.tooling.decorator import tool

__all__ = ["EmbeddingModel", "embedding"]


@tool
def embedding(
    connection: AzureOpenAIConnection | OpenAIConnection | ServerlessConnection,
    input: str,
    deployment_name: str = "",
    model: EmbeddingModel = EmbeddingModel.TEXT_EMBEDDING_ADA_002,
) -> list[float]:
    return background.run(_embedding(connection, input, deployment_name, model))
