"""Door: Azure OpenAI, as class and as functions."""

from typing import Any

from promptflow.connections.models import AzureOpenAIConnection
from promptflow.contracts.types import PromptTemplate
from promptflow.llm.providers import AzureOpenAI
from promptflow.tooling.decorator import tool

__all__ = ["AzureOpenAI", "chat", "completion"]


@tool
def completion(connection: AzureOpenAIConnection, prompt: PromptTemplate, deployment_name: str, **kwargs: Any) -> Any:
    return AzureOpenAI(connection).completion(prompt, deployment_name, **kwargs)


@tool
def chat(connection: AzureOpenAIConnection, prompt: PromptTemplate, deployment_name: str, **kwargs: Any) -> Any:
    return AzureOpenAI(connection).chat(prompt, deployment_name, **kwargs)
