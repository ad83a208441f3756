"""Azure OpenAI and OpenAI as tools: plain functions over the async core, with the parameters they always had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection
from promptflow.contracts.types import PromptTemplate
from promptflow.llm import background
from promptflow.llm.chat import chat, completion, parameter_names
from promptflow.llm.streams import TextStream
from promptflow.tooling.decorator import INPUTS_TO_ESCAPE_PARAM_KEY, ToolProvider, tool


class Engine(StrEnum):
    """OpenAI's completion models of old; any other name is as good."""

    TEXT_DAVINCI_001 = "text-davinci-001"
    TEXT_DAVINCI_002 = "text-davinci-002"
    TEXT_DAVINCI_003 = "text-davinci-003"
    TEXT_CURIE_001 = "text-curie-001"
    TEXT_BABBAGE_001 = "text-babbage-001"
    TEXT_ADA_001 = "text-ada-001"
    CODE_CUSHMAN_001 = "code-cushman-001"
    CODE_DAVINCI_002 = "code-davinci-002"


def run_call(
    call: Callable[..., Any], connection: Any, prompt: str, arguments: Mapping[str, Any], names: Collection[str]
) -> Any:
    """Run ``call`` with those of a function's ``arguments`` that ``names`` lists, and all of its ``kwargs``."""
    values = dict(arguments.get("kwargs") or {})
    outside = values.pop(INPUTS_TO_ESCAPE_PARAM_KEY, None) or ()
    values.update({name: arguments[name] for name in names if name in arguments})
    result = background.run(call(connection, prompt, outside=outside, **values))
    return result.generator() if isinstance(result, TextStream) else result


class AzureOpenAI(ToolProvider):
    """Chat and completion of one Azure OpenAI connection."""

    def __init__(self, connection: AzureOpenAIConnection) -> None:
        super().__init__()
        self.connection = connection

    @tool(streaming_option_parameter="stream")
    def completion(
        self,
        prompt: PromptTemplate,
        deployment_name: str,
        suffix: str | None = None,
        max_tokens: int = 16,
        temperature: float = 1.0,
        top_p: float = 1.0,
        n: int = 1,
        stream: bool = False,
        logprobs: int | None = None,
        echo: bool = False,
        stop: list[Any] | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        best_of: int = 1,
        logit_bias: dict[str, Any] | None = None,
        user: str = "",
        **kwargs: Any,
    ) -> Any:
        return run_call(completion, self.connection, prompt, locals(), parameter_names(True, "completion"))

    @tool(streaming_option_parameter="stream")
    def chat(
        self,
        prompt: PromptTemplate,
        deployment_name: str,
        temperature: float = 1.0,
        top_p: float = 1.0,
        n: int = 1,
        stream: bool = False,
        stop: list[Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        logit_bias: dict[str, Any] | None = None,
        user: str = "",
        function_call: Any = None,
        functions: list[Any] | None = None,
        tool_choice: Any = None,
        tools: list[Any] | None = None,
        response_format: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        return run_call(chat, self.connection, prompt, locals(), parameter_names(True, "chat"))


class OpenAI(ToolProvider):
    """Chat and completion of one OpenAI connection, or of a server that speaks its API."""

    def __init__(self, connection: OpenAIConnection) -> None:
        super().__init__()
        self.connection = connection

    @tool(streaming_option_parameter="stream")
    def completion(
        self,
        prompt: PromptTemplate,
        model: Engine = Engine.TEXT_DAVINCI_003,
        suffix: str | None = None,
        max_tokens: int = 16,
        temperature: float = 1.0,
        top_p: float = 1.0,
        n: int = 1,
        stream: bool = False,
        logprobs: int | None = None,
        echo: bool = False,
        stop: list[Any] | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        best_of: int = 1,
        logit_bias: dict[str, Any] | None = None,
        user: str = "",
        **kwargs: Any,
    ) -> Any:
        return run_call(completion, self.connection, prompt, locals(), parameter_names(False, "completion"))

    @tool(streaming_option_parameter="stream")
    def chat(
        self,
        prompt: PromptTemplate,
        model: str = "",
        temperature: float = 1.0,
        top_p: float = 1.0,
        stream: bool = False,
        stop: list[Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        logit_bias: dict[str, Any] | None = None,
        user: str = "",
        function_call: Any = None,
        functions: list[Any] | None = None,
        tool_choice: Any = None,
        tools: list[Any] | None = None,
        response_format: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        return run_call(chat, self.connection, prompt, locals(), parameter_names(False, "chat"))
