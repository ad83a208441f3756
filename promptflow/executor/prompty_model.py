"""What a prompty's ``model`` means: the connection to use, the request to send, the result to give."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from promptflow.connections.model_config import ModelConfiguration
from promptflow.connections.models import (
    AzureOpenAIConnection,
    OpenAIConnection,
    ServerlessConnection,
    _Connection,
)
from promptflow.contracts.prompty import PromptyModel
from promptflow.exceptions import InvalidOutputKeyError, LLMError, UnknownConnectionType, UserErrorException
from promptflow.llm.chat_parameters import (
    check_functions,
    check_tools,
    checked_function_call,
    checked_tool_choice,
    without_none,
)
from promptflow.llm.response import ApiObject

ConnectionLookup = Callable[[str], _Connection]

_ENV = re.compile(r"^\$\{env:(.*)\}$")
_AZURE = ("azure_openai", "AzureOpenAI", "azure_open_ai")
_OPENAI = ("openai", "OpenAI", "open_ai")
_SERVERLESS = ("serverless", "Serverless")
# What OpenAI's SDK takes beside the fields of the request.
_NO_FIELDS = ("extra_headers", "extra_query", "extra_body", "timeout")


def connection_of(configuration: Any, lookup: ConnectionLookup) -> _Connection:
    """The connection that ``model.configuration`` names or spells out; with neither, the environment's."""
    if isinstance(configuration, _Connection):
        return configuration
    if isinstance(configuration, ModelConfiguration):
        kind = getattr(configuration, "_type", None)
        values = asdict(configuration)  # type: ignore[call-overload]
    else:
        values = dict(configuration)
        kind = values.pop("type", None)
    named = values.pop("connection", None)
    if named:
        return lookup(named) if isinstance(named, str) else named
    return _inline(kind, {key: _environment(value) for key, value in values.items()})


def _inline(kind: Any, values: dict[str, Any]) -> _Connection:
    given = {key: value for key, value in values.items() if value and key not in ("azure_deployment", "model")}
    if kind in _AZURE:
        if not given:
            return AzureOpenAIConnection.from_env()
        base = given.pop("azure_endpoint", None) or given.pop("api_base", None)
        if not base:
            raise UserErrorException(
                "The prompty's model.configuration has no azure_endpoint.",
                hint="add azure_endpoint and api_key, or connection: <name>",
            )
        return AzureOpenAIConnection(api_base=base, **given)
    if kind in _OPENAI:
        return OpenAIConnection(**{"api_key": None, **given}) if given else OpenAIConnection.from_env()
    if kind in _SERVERLESS:
        base = given.pop("api_base", None) or given.pop("azure_endpoint", None) or given.pop("base_url", None)
        return ServerlessConnection(api_key=given.get("api_key", ""), api_base=base or "")
    raise UnknownConnectionType(
        f"Not Support connection type {kind} for a prompty. Connection type should be in "
        "[azure_openai, openai, serverless].",
        hint="write type: azure_openai, openai or serverless below model.configuration, or connection: <name>",
    )


def _environment(value: Any) -> Any:
    match = _ENV.match(value) if isinstance(value, str) else None
    return os.environ.get(match[1], value) if match else value


def request_body(model: PromptyModel, prompt: Any) -> dict[str, Any]:
    """What is sent beside the model's name. Raises where tools or functions are not well formed."""
    parameters = model.parameters
    body = {key: value for key, value in parameters.items() if key not in _NO_FIELDS}
    body["prompt" if model.api == "completion" else "messages"] = prompt
    # functions are the older form of tools: with both, tools count.
    if body.get("tools") is not None:
        check_tools(body["tools"])
        body["tool_choice"] = checked_tool_choice(body.get("tool_choice"))
    elif body.get("functions") is not None:
        check_functions(body["functions"])
        body["function_call"] = checked_function_call(body.get("function_call"))
    return without_none({**body, **(parameters.get("extra_body") or {})})


def wants_json(model: PromptyModel) -> bool:
    form = model.parameters.get("response_format")
    return isinstance(form, Mapping) and form.get("type") == "json_object"


def result_of(answer: ApiObject, model: PromptyModel, outputs: Mapping[str, Any] | None) -> Any:
    """The first choice: its text, its JSON, or its message where it calls tools."""
    choice = answer.choices[0]
    if model.api == "completion":
        content = choice.text
    elif choice.get("finish_reason") in ("tool_calls", "function_call", "function_calls"):
        return choice.message.model_dump()
    else:
        content = choice.message.content
    return json_result(content, outputs) if wants_json(model) else content


def json_result(text: Any, outputs: Mapping[str, Any] | None) -> Any:
    """The JSON in an answer; with ``outputs``, those keys of it. Raises LLMError, InvalidOutputKeyError."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError) as error:
        raise LLMError(
            f"OpenAI API hits exception: {type(error).__name__}: the model's answer is no JSON: {str(text)[:200]!r}",
            hint="ask for JSON in the prompt too, and give max_tokens enough room",
        ) from error
    if not outputs:
        return value
    for key in outputs:
        if not isinstance(value, dict) or key not in value:
            found = list(value) if isinstance(value, dict) else type(value).__name__
            raise InvalidOutputKeyError(f"Cannot find {key} in response {found}", hint="name it in the prompt")
    return {key: value[key] for key in outputs}
