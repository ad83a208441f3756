"""Door: OpenAI, as class and as functions."""

from typing import Any

from promptflow.connections.models import OpenAIConnection
from promptflow.contracts.types import PromptTemplate
from promptflow.llm.providers import Engine, OpenAI
from promptflow.tooling.decorator import tool

__all__ = ["Engine", "OpenAI", "chat", "completion"]


@tool
def completion(
    connection: OpenAIConnection, prompt: PromptTemplate, model: Engine = Engine.TEXT_DAVINCI_003, **kwargs: Any
) -> Any:
    return OpenAI(connection).completion(prompt, model, **kwargs)


@tool
def chat(connection: OpenAIConnection, prompt: PromptTemplate, model: str = "", **kwargs: Any) -> Any:
    return OpenAI(connection).chat(prompt, model, **kwargs)
