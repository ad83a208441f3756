"""What an engine is asked -> the body that a server of the OpenAI API takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve.engines.base import Request, Sampling, UnsupportedError

OPENAI, VLLM = "openai", "vllm"  # OpenAI's own service takes its own fields only; others understand vLLM's
DIALECTS = (OPENAI, VLLM)
SCHEMA_NAME = "answer"


def body_of(request: Request, model: str, dialect: str) -> dict[str, Any]:
    """The body, for a stream with usage at its end. Choices that are left to the model are left out."""
    stream = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    sampling = _sampling(request.sampling, request.messages is not None, dialect)
    if request.messages is None:
        prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
        return {**stream, "prompt": prompt, **sampling}
    return {**stream, "messages": list(request.messages), **sampling, **_tools(request)}


def _sampling(wanted: Sampling, chat: bool, dialect: str) -> dict[str, Any]:
    form = _form(wanted)
    if dialect == OPENAI and wanted.top_k:
        raise UnsupportedError("The server knows no top_k.")
    if dialect == OPENAI and form and not chat:
        raise UnsupportedError("The server keeps no plain completion to a form.", hint="ask for it in a chat")
    values = {
        "max_completion_tokens" if chat and dialect == OPENAI else "max_tokens": wanted.max_tokens,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k or None,
        "seed": wanted.seed,
        "stop": list(wanted.stop) or None,
        "logit_bias": {str(token): value for token, value in wanted.logit_bias.items()} or None,
        "frequency_penalty": wanted.frequency_penalty or None,
        "presence_penalty": wanted.presence_penalty or None,
        "response_format": form,
    }
    if wanted.logprobs is not None:
        values["logprobs"] = True if chat else wanted.logprobs
        values["top_logprobs"] = wanted.logprobs or None if chat else None
    return {name: value for name, value in values.items() if value is not None}


def _form(wanted: Sampling) -> dict[str, Any] | None:
    if wanted.json_schema is not None:
        schema = {"name": SCHEMA_NAME, "schema": wanted.json_schema, "strict": is_strict(wanted.json_schema)}
        return {"type": "json_schema", "json_schema": schema}
    return {"type": "json_object"} if wanted.json else None


def is_strict(schema: Any) -> bool:
    """Whether every object in ``schema`` is closed and needs all its properties: OpenAI's service refuses to be strict
    about others."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties"), schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(properties, Mapping):
            return False
        if not isinstance(required, list) or {*properties} != {*map(str, required)}:
            return False
    return all(is_strict(part) for part in schema.values())


def _tools(request: Request) -> dict[str, Any]:
    if not request.tools:
        return {}
    named = request.tool_choice not in ("auto", "none", "required")
    choice = {"type": "function", "function": {"name": request.tool_choice}} if named else request.tool_choice
    alone = {} if request.parallel_tool_calls else {"parallel_tool_calls": False}
    return {"tools": list(request.tools), "tool_choice": choice, **alone}
