"""What is sent beside the messages: parameters, and checks of the functions and tools among them."""

from __future__ import annotations

import json
import re
from typing import Any

from promptflow.exceptions import ChatAPIInvalidFunctions, ChatAPIInvalidTools

_FUNCTION = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city, e.g. San Francisco"}},
        "required": ["location"],
    },
}
_TOOL = {"type": "function", "function": _FUNCTION}
_CHOICE = {"type": "function", "function": {"name": "get_current_weather"}}

_REASONING = re.compile(r"(?i)^(?:.*/)?(?:o\d+|gpt-5)(?:$|[-.\d])")
_DEFAULTS = {"temperature": 1, "top_p": 1, "n": 1, "presence_penalty": 0, "frequency_penalty": 0}


def is_true(value: Any) -> bool:
    """Flags reach us as booleans or as text."""
    return str(value).lower() == "true"


def chat_parameters(
    azure: bool,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    n: int = 1,
    stream: bool = False,
    stop: Any = None,
    max_tokens: Any = None,
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
) -> dict[str, Any]:
    """The body of a chat request beside model and messages. Tools win over functions; empty values are left out."""
    body: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "stream": is_true(stream)}
    if azure:
        body["n"] = n
    if tools:
        body["tools"] = tools
        if azure:
            check_tools(tools)
            tool_choice = checked_tool_choice(tool_choice)
        body["tool_choice"] = tool_choice
    elif functions:
        check_functions(functions)
        body["functions"] = functions
        body["function_call"] = checked_function_call(function_call)
    if max_tokens is not None and str(max_tokens).lower() != "inf":
        body["max_tokens"] = int(max_tokens)
    body["presence_penalty"] = presence_penalty
    body["frequency_penalty"] = frequency_penalty
    body["seed"] = seed
    for name, value in (
        ("stop", stop),
        ("logit_bias", logit_bias),
        ("response_format", response_format),
        ("user", user),
    ):
        body[name] = value or None
    return without_none(body)


def completion_parameters(
    *,
    suffix: str | None = None,
    max_tokens: Any = 16,
    temperature: float = 1.0,
    top_p: float = 1.0,
    n: int = 1,
    stream: bool = False,
    logprobs: Any = None,
    echo: bool = False,
    stop: Any = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    best_of: int = 1,
    logit_bias: dict[str, Any] | None = None,
    user: str = "",
) -> dict[str, Any]:
    """The body of a completion request beside model and prompt."""
    body = {
        "suffix": suffix or None,
        "max_tokens": int(max_tokens) if max_tokens is not None else None,
        "temperature": float(temperature),
        "top_p": float(top_p),
        "n": int(n),
        "stream": is_true(stream),
        "logprobs": int(logprobs) if logprobs else None,
        "echo": is_true(echo),
        "stop": stop or None,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "best_of": int(best_of),
        "logit_bias": logit_bias or {},
        "user": user,
    }
    return without_none(body)


def vision_parameters(
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stream: bool = False,
    stop: Any = None,
    max_tokens: int | None = None,
    presence_penalty: float = 0,
    frequency_penalty: float = 0,
    seed: int | None = None,
) -> dict[str, Any]:
    """The body of a chat request with images: such models refuse most other parameters."""
    body = {
        "temperature": temperature,
        "top_p": top_p,
        "n": 1,
        "stream": is_true(stream),
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "stop": stop or None,
        "max_tokens": max_tokens,
        "seed": seed,
    }
    return without_none(body)


def without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def for_model(model: str, body: dict[str, Any]) -> dict[str, Any]:
    """``body`` as the family of ``model`` takes it: reasoning models count ``max_completion_tokens``."""
    if "max_tokens" in body and _REASONING.match(model or ""):
        return _renamed(body)
    return body


def after_refusal(body: dict[str, Any], message: str) -> dict[str, Any] | None:
    """What to send instead, once a server has refused ``body`` for a parameter that nobody needs; None if nothing.

    A parameter is left out only where it holds the API's own default, so that no wish of the user is dropped.
    """
    if "max_tokens" in body and "max_completion_tokens" in message:
        return _renamed(body)
    for name, default in _DEFAULTS.items():
        if body.get(name) == default and re.search(rf"\b{name}\b", message):
            return {key: value for key, value in body.items() if key != name}
    return None


def _renamed(body: dict[str, Any]) -> dict[str, Any]:
    return {("max_completion_tokens" if key == "max_tokens" else key): value for key, value in body.items()}


def check_functions(functions: Any) -> None:
    """Raise ChatAPIInvalidFunctions where ``functions`` are not functions with JSON schemas."""
    advice = f"Here is a valid function example: {json.dumps(_FUNCTION)}."
    if not functions:
        raise ChatAPIInvalidFunctions(f"functions cannot be an empty list. {advice}")
    for index, function in enumerate(functions):
        problem = _function_problem(index, function)
        if problem:
            raise ChatAPIInvalidFunctions(f"{problem} {advice}")


def check_tools(tools: Any) -> None:
    """Raise ChatAPIInvalidTools where ``tools`` are not tools."""
    advice = f"Here is a valid tool example: {json.dumps(_TOOL)}."
    if not tools:
        raise ChatAPIInvalidTools(f"tools cannot be an empty list. {advice}")
    for index, tool in enumerate(tools):
        problem = _tool_problem(index, tool)
        if problem:
            raise ChatAPIInvalidTools(f"{problem} {advice}")


def _tool_problem(index: int, tool: Any) -> str:
    if not isinstance(tool, dict):
        return f"tool {index} '{tool}' is not a dict."
    missing = next((key for key in ("type", "function") if key not in tool), None)
    if missing:
        return f"tool {index} '{tool}' does not have '{missing}' property."
    return _function_problem(index, tool["function"])


def _function_problem(index: int, function: Any) -> str:
    if not isinstance(function, dict):
        return f"function {index} '{function}' is not a dict."
    missing = next((key for key in ("name", "parameters") if key not in function), None)
    if missing:
        return f"function {index} '{function}' does not have '{missing}' property."
    parameters = function["parameters"]
    where = f"function {index} '{function['name']}' parameters"
    if not isinstance(parameters, dict):
        return f"{where} '{parameters}' should be described as a JSON Schema object."
    missing = next((key for key in ("type", "properties") if key not in parameters), None)
    if missing:
        return f"{where} '{parameters}' does not have '{missing}' property."
    if parameters["type"] != "object":
        return f"{where} 'type' should be 'object'."
    if not isinstance(parameters["properties"], dict):
        return f"{where} 'properties' should be described as a JSON Schema object."
    return ""


def checked_function_call(choice: Any) -> Any:
    """``function_call`` as the API takes it; "auto" for None. Raises ChatAPIInvalidFunctions."""
    if choice is None:
        return "auto"
    if choice in ("auto", "none"):
        return choice
    advice = f"Here is a valid example: {json.dumps({'name': 'get_current_weather'})}."
    if not isinstance(choice, dict):
        found = type(choice)
        raise ChatAPIInvalidFunctions(f"function_call parameter '{choice}' must be a dict, but not {found}. {advice}")
    if "name" not in choice:
        raise ChatAPIInvalidFunctions(
            f'function_call parameter {json.dumps(choice)} must contain "name" field. {advice}'
        )
    return choice


def checked_tool_choice(choice: Any) -> Any:
    """``tool_choice`` as the API takes it; "auto" for None. Raises ChatAPIInvalidTools."""
    if choice is None:
        return "auto"
    if choice in ("auto", "none", "required"):
        return choice
    problem = _choice_problem(choice)
    if problem:
        raise ChatAPIInvalidTools(f"{problem} Here is a valid example: {json.dumps(_CHOICE)}.")
    return choice


def _choice_problem(choice: Any) -> str:
    if not isinstance(choice, dict):
        return f"tool_choice parameter '{choice}' must be a dict, but not {type(choice)}."
    for key in ("type", "function"):
        if key not in choice:
            return f'tool_choice parameter {json.dumps(choice)} must contain "{key}" field.'
    function = choice["function"]
    if not isinstance(function, dict):
        return f'function parameter "{function}" in tool_choice must be a dict, but not {type(function)}.'
    if "name" not in function:
        return f'function parameter "{json.dumps(function)}" in tool_choice must contain "name" field.'
    return ""
