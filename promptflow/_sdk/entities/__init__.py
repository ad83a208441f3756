"""Door: `promptflow.entities`, and the flow classes, under an old private spelling."""

from promptflow.connections import (
    AzureAIServicesConnection,
    CustomStrongTypeConnection,
    ServerlessConnection,
    WeaviateConnection,
    _Connection,
)
from promptflow.entities import (
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    CustomConnection,
    DynamicList,
    FlowContext,
    FormRecognizerConnection,
    InputSetting,
    OpenAIConnection,
    QdrantConnection,
    Run,
    SerpConnection,
)
from promptflow.executor.callable import Flow

__all__ = [
    "AzureAIServicesConnection",
    "AzureContentSafetyConnection",
    "AzureOpenAIConnection",
    "CognitiveSearchConnection",
    "CustomConnection",
    "CustomStrongTypeConnection",
    "DynamicList",
    "Flow",
    "FlowContext",
    "FormRecognizerConnection",
    "InputSetting",
    "OpenAIConnection",
    "QdrantConnection",
    "Run",
    "SerpConnection",
    "ServerlessConnection",
    "WeaviateConnection",
    "_Connection",
]
