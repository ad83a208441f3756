"""The Open Model LLM tool: any model behind a server that speaks OpenAI's API, by the name of its connection."""

from __future__ import annotations

from typing import Any

from promptflow.connections import CustomConnection
from promptflow.connections.models import ServerlessConnection, _Connection
from promptflow.connections.provider import get_connection
from promptflow.contracts.types import PromptTemplate
from promptflow.exceptions import OpenModelLLMUserError
from promptflow.llm import background
from promptflow.llm.chat import chat, completion
from promptflow.tooling.decorator import ToolProvider, tool
from promptflow.workspace import Workspace

_PREFIX = "connection/"


class OpenModelLLM(ToolProvider):
    """``endpoint_name`` is ``connection/<name>``; Azure ML's own endpoints need a connection of type serverless."""

    def __init__(self) -> None:
        super().__init__()

    @tool
    def call(
        self,
        prompt: PromptTemplate,
        api: str = "chat",
        endpoint_name: str = "",
        deployment_name: str | None = None,
        temperature: float = 1.0,
        max_new_tokens: int = 500,
        top_p: float = 1.0,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        connection = endpoint_connection(endpoint_name)
        outside = kwargs.pop("_inputs_to_escape", ())
        parameters = {"temperature": temperature, "top_p": top_p, "max_tokens": max_new_tokens}
        values = {"model": deployment_name or "default", **parameters, **(model_kwargs or {}), **kwargs}
        ask = completion if str(api) == "completion" else chat
        return background.run(ask(connection, prompt, outside=outside, **values))


def endpoint_connection(endpoint_name: str) -> _Connection:
    """The connection behind ``connection/<name>``; a custom one is read as endpoint_url and endpoint_api_key."""
    if not endpoint_name.startswith(_PREFIX):
        raise OpenModelLLMUserError(
            f"Endpoint '{endpoint_name}' cannot be called: only endpoints behind a connection can.",
            hint=f"create a connection of type serverless for it, and write endpoint_name: {_PREFIX}<its name>",
        )
    connection = get_connection(endpoint_name.removeprefix(_PREFIX), Workspace.open())
    if not isinstance(connection, CustomConnection):
        return connection
    if not connection.configs.get("endpoint_url"):
        raise OpenModelLLMUserError(
            f"Connection '{connection.name}' has no endpoint_url.", hint="add endpoint_url and endpoint_api_key to it"
        )
    key = connection.secrets.get("endpoint_api_key", "")
    return ServerlessConnection(api_key=key, api_base=connection.configs["endpoint_url"], name=connection.name)
