"""Connections: where a model or service is, and the secrets it wants."""

from typing import TYPE_CHECKING

from promptflow._lazy import lazy
from promptflow.connections.custom import CustomConnection, CustomStrongTypeConnection
from promptflow.connections.models import (
    AzureAIServicesConnection,
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    BingConnection,
    CognitiveSearchConnection,
    FormRecognizerConnection,
    LocalConnection,
    OpenAIConnection,
    QdrantConnection,
    SerpConnection,
    ServerlessConnection,
    WeaviateConnection,
    _Connection,
)

if TYPE_CHECKING:
    from promptflow.connections.provider import ConnectionProvider

__all__ = [
    "AzureAIServicesConnection",
    "AzureContentSafetyConnection",
    "AzureOpenAIConnection",
    "BingConnection",
    "CognitiveSearchConnection",
    "ConnectionProvider",
    "CustomConnection",
    "CustomStrongTypeConnection",
    "FormRecognizerConnection",
    "LocalConnection",
    "OpenAIConnection",
    "QdrantConnection",
    "SerpConnection",
    "ServerlessConnection",
    "WeaviateConnection",
    "_Connection",
]
__getattr__, __dir__ = lazy(__name__, {"ConnectionProvider": "promptflow.connections.provider"})
