"""Models that look at images, as tools."""

from __future__ import annotations

from typing import Any

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection
from promptflow.contracts.types import PromptTemplate
from promptflow.llm.chat import parameter_names, vision
from promptflow.llm.providers import run_call
from promptflow.tooling.decorator import ToolProvider, tool


class AzureOpenAI(ToolProvider):
    """GPT-4 Turbo with Vision and its successors on Azure OpenAI."""

    def __init__(self, connection: AzureOpenAIConnection) -> None:
        super().__init__()
        self.connection = connection

    @tool(streaming_option_parameter="stream")
    def chat(
        self,
        prompt: PromptTemplate,
        deployment_name: str,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stream: bool = False,
        stop: list[Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0,
        frequency_penalty: float = 0,
        seed: int | None = None,
        detail: str = "auto",
        **kwargs: Any,
    ) -> Any:
        return run_call(vision, self.connection, prompt, locals(), parameter_names(True, "vision"))


class OpenAI(ToolProvider):
    """The same on OpenAI, or on a server that speaks its API."""

    def __init__(self, connection: OpenAIConnection) -> None:
        super().__init__()
        self.connection = connection

    @tool(streaming_option_parameter="stream")
    def chat(
        self,
        prompt: PromptTemplate,
        model: str = "gpt-4-vision-preview",
        temperature: float = 1.0,
        top_p: float = 1.0,
        stream: bool = False,
        stop: list[Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0,
        frequency_penalty: float = 0,
        seed: int | None = None,
        detail: str = "auto",
        **kwargs: Any,
    ) -> Any:
        return run_call(vision, self.connection, prompt, locals(), parameter_names(False, "vision"))
