"""LLM nodes of a flow: literal inputs as the API's types, the prompt rendered, the model asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from promptflow.contracts.tool import ValueType
from promptflow.exceptions import NodeInputValidationError
from promptflow.llm.chat import chat, chat_request, completion, completion_request, parameter_names
from promptflow.llm.endpoints import exact_model, is_azure

_TYPES = {
    "temperature": ValueType.DOUBLE,
    "top_p": ValueType.DOUBLE,
    "presence_penalty": ValueType.DOUBLE,
    "frequency_penalty": ValueType.DOUBLE,
    "n": ValueType.INT,
    "seed": ValueType.INT,
    "logprobs": ValueType.INT,
    "best_of": ValueType.INT,
    "stream": ValueType.BOOL,
    "echo": ValueType.BOOL,
    "logit_bias": ValueType.OBJECT,
    "tool_choice": ValueType.OBJECT,
    "function_call": ValueType.OBJECT,
    "response_format": ValueType.OBJECT,
    "functions": ValueType.LIST,
    "tools": ValueType.LIST,
}


async def run_llm_node(
    connection: Any,
    api: str = "chat",
    template: str = "",
    inputs: Mapping[str, Any] | None = None,
    *,
    escape: Collection[str] = (),
) -> Any:
    """Run one LLM node: its text, its message (tools, functions) or a stream of text.

    ``escape`` names those of ``inputs`` that come from the flow's own inputs: role lines in them stay text.
    """
    call = completion if api == "completion" else chat
    return await call(connection, template, outside=escape, **_values(connection, api, inputs))


def llm_request(
    connection: Any, api: str, template: str, inputs: Mapping[str, Any], *, escape: Collection[str] = ()
) -> tuple[str, dict[str, Any]]:
    """``(model, body)`` of the request that `run_llm_node` makes, without making it; the model with its version."""
    request = completion_request if api == "completion" else chat_request
    model, body = request(connection, template, escape, _values(connection, api, inputs))
    return exact_model(connection, model), body


def _values(connection: Any, api: str, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    names = parameter_names(is_azure(connection), api or "chat")
    return {name: _typed(name, value) if name in names else value for name, value in (inputs or {}).items()}


def _typed(name: str, value: Any) -> Any:
    """YAML and portals write many parameters as text."""
    if not isinstance(value, str) or value == "" or name not in _TYPES:
        return value
    try:
        return _TYPES[name].parse(value)
    except (ValueError, TypeError) as error:
        raise NodeInputValidationError(
            f"Input '{name}' is not a {_TYPES[name].value}: {value!r}.", hint=f"write a {_TYPES[name].value}"
        ) from error
