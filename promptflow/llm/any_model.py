"""The LLM and LLM-Vision tools: one signature for every kind of connection. Async, as flows run them."""

from __future__ import annotations

from typing import Any

from promptflow.contracts.types import PromptTemplate
from promptflow.llm import background
from promptflow.llm.chat import chat, completion, parameter_names, vision
from promptflow.llm.endpoints import is_azure
from promptflow.llm.streams import TextStream
from promptflow.tooling.decorator import INPUTS_TO_ESCAPE_PARAM_KEY, tool

_CALLS = {"chat": chat, "completion": completion, "vision": vision}


@tool(streaming_option_parameter="stream")
async def llm(
    connection: Any,
    prompt: PromptTemplate,
    api: str = "chat",
    deployment_name: str = "",
    model: str = "",
    temperature: float = 1.0,
    top_p: float = 1.0,
    stream: bool = False,
    stop: list[Any] | None = None,
    max_tokens: int | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: dict[str, Any] | None = None,
    tool_choice: Any = None,
    tools: list[Any] | None = None,
    response_format: Any = None,
    seed: int | None = None,
    suffix: str | None = None,
    logprobs: int | None = None,
    echo: bool = False,
    best_of: int = 1,
    **kwargs: Any,
) -> Any:
    """Ask any model, by chat or completion."""
    return await ask_any("completion" if api == "completion" else "chat", connection, prompt, locals())


@tool(streaming_option_parameter="stream")
async def llm_vision(
    connection: Any,
    prompt: PromptTemplate,
    deployment_name: str = "",
    model: str = "",
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
    """Ask any model that looks at images."""
    return await ask_any("vision", connection, prompt, locals())


async def ask_any(kind: str, connection: Any, prompt: str, arguments: dict[str, Any]) -> Any:
    """One call of ``kind`` (chat, completion, vision) with a tool's arguments."""
    values = dict(arguments.get("kwargs") or {})
    outside = values.pop(INPUTS_TO_ESCAPE_PARAM_KEY, None) or ()
    names = parameter_names(is_azure(connection), kind)
    values.update({name: arguments[name] for name in names if name in arguments})
    return await _CALLS[kind](connection, prompt, outside=outside, **values)


def call_any(kind: str, connection: Any, prompt: str, values: dict[str, Any]) -> Any:
    """The same for plain code; a stream comes as a generator."""
    result = background.run(ask_any(kind, connection, prompt, {"kwargs": values}))
    return result.generator() if isinstance(result, TextStream) else result
