"""Chat and completion, on OpenAI, Azure OpenAI, serverless endpoints and every server that speaks the same API."""

from __future__ import annotations

import functools
from collections.abc import Collection
from enum import Enum
from typing import Any

from promptflow.exceptions import FunctionCallNotSupportedInStreamMode
from promptflow.llm.calls import CHAT, COMPLETION, ask
from promptflow.llm.chat_parameters import chat_parameters, completion_parameters, vision_parameters
from promptflow.llm.endpoints import is_azure, own_model
from promptflow.llm.messages import build_messages
from promptflow.llm.response import ApiObject
from promptflow.llm.roles import as_chat_list, escape_inputs, unescape
from promptflow.llm.streams import ChunkStream, TextStream, chat_text, completion_text
from promptflow.tooling.render import render

DEFAULT_COMPLETION_MODEL = "text-davinci-003"
DEFAULT_VISION_MODEL = "gpt-4-vision-preview"

_NAMES = "deployment_name", "model"
_COMMON = (
    *("temperature", "top_p", "stream", "stop", "max_tokens", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "user"),
)
_CHAT = (*_COMMON, "function_call", "functions", "tool_choice", "tools", "response_format", "seed")
_COMPLETION = (*_COMMON, "suffix", "n", "logprobs", "echo", "best_of")
_VISION = (
    *("temperature", "top_p", "stream", "stop", "max_tokens", "presence_penalty"),
    *("frequency_penalty", "seed"),
)


@functools.cache
def parameter_names(azure: bool, api: str) -> tuple[str, ...]:
    """What a call takes beside the values of its template. ``api``: chat, completion or vision."""
    name = _NAMES[:1] if azure else _NAMES[1:]
    if api == "completion":
        return (*name, *_COMPLETION)
    if api == "vision":
        return (*name, *_VISION, "detail")
    return (*name, *_CHAT, "n") if azure else (*name, *_CHAT)


async def chat(connection: Any, prompt: str, *, outside: Collection[str] = (), **values: Any) -> Any:
    """Render ``prompt`` with ``values``, ask the model, and return its text.

    With tools or functions it is the message as a dict, with ``stream`` a `TextStream`. Those of ``values`` that the
    API knows (`parameter_names`) are sent, the others fill the template; ``outside`` names the ones from outside the
    flow, in which role lines are only text.
    """
    model, body = chat_request(connection, prompt, outside, values)
    answer = await ask(connection, CHAT, model, body)
    return _chat_result(answer, as_message="tools" in body or "functions" in body)


def chat_request(
    connection: Any, prompt: str, outside: Collection[str], values: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """``(model, body)`` of the request that `chat` makes."""
    azure = is_azure(connection)
    model, parameters, variables = _split(azure, "chat", values)
    model = model or own_model(connection)
    body = chat_parameters(azure, **parameters)
    if body["stream"] and parameters.get("functions") is not None:
        raise FunctionCallNotSupportedInStreamMode("Function calling has not been supported by stream mode yet.")
    # Only Azure's tool ever rendered lists line by line; prompts have come to rely on each.
    variables = as_chat_list(variables) if azure else variables
    body["messages"] = build_messages(prompt, variables, outside=outside)
    return model, body


async def vision(connection: Any, prompt: str, *, outside: Collection[str] = (), **values: Any) -> Any:
    """As `chat`, for models that look at images and take few parameters. ``detail``: low, high or auto."""
    model, parameters, variables = _split(is_azure(connection), "vision", values)
    detail = parameters.pop("detail", None) or "auto"
    body = vision_parameters(**parameters)
    body["messages"] = build_messages(prompt, as_chat_list(variables), outside=outside, detail=detail)
    return _chat_result(
        await ask(connection, CHAT, model or own_model(connection) or DEFAULT_VISION_MODEL, body), as_message=False
    )


async def completion(connection: Any, prompt: str, *, outside: Collection[str] = (), **values: Any) -> Any:
    """Render ``prompt`` with ``values`` and let the model go on with it: its text, or a `TextStream`."""
    model, body = completion_request(connection, prompt, outside, values)
    answer = await ask(connection, COMPLETION, model, body)
    if isinstance(answer, ChunkStream):
        return TextStream(answer, completion_text)
    return answer.choices[0].text


def completion_request(
    connection: Any, prompt: str, outside: Collection[str], values: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """``(model, body)`` of the request that `completion` makes."""
    model, parameters, variables = _split(is_azure(connection), "completion", values)
    body = completion_parameters(**parameters)
    # Nothing is split here: the marks go in, for prompts of earlier nodes carry them, and out again.
    body["prompt"] = unescape(render(prompt, escape_inputs(variables, outside)))
    return model or own_model(connection) or DEFAULT_COMPLETION_MODEL, body


def _split(azure: bool, api: str, values: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """``(model, parameters, template values)``: what the API does not know fills the template."""
    names = parameter_names(azure, api)
    parameters = {key: value for key, value in values.items() if key in names and value is not None and value != ""}
    variables = {key: value for key, value in values.items() if key not in names}
    model = parameters.pop(names[0], "")
    return (model.value if isinstance(model, Enum) else model), parameters, variables


def _chat_result(answer: ApiObject | ChunkStream, as_message: bool) -> Any:
    if isinstance(answer, ChunkStream):
        return TextStream(answer, chat_text)
    message = answer.choices[0].message
    return message.model_dump() if as_message else message.content
