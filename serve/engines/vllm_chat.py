"""What of a chat may reach vLLM: no special tokens in texts, no addresses that it would fetch from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from serve.engines.base import Request, Sampling, UnsupportedError
from serve.engines.chat import without
from serve.engines.json_file import read_json

Message = Mapping[str, Any]


def sendable(request: Request, model: str, inputs: Set[str], specials: Sequence[str], calls: bool) -> Request:
    """The request as it may be sent on; UnsupportedError. ``inputs`` are the kinds of parts that the model reads,
    ``specials`` its special tokens; ``calls``: whether vLLM knows how it writes calls of tools."""
    if request.messages is None:
        return request
    if request.tools and request.tool_choice == "auto" and not calls:
        raise UnsupportedError(
            f"How '{model}' writes calls of tools is not known.",
            hint="--option tool_call_parser=NAME enable_auto_tool_choice=true, or a tool_choice",
        )
    check_parts(request.messages, model, inputs)
    messages = safe_messages(request.messages, specials)
    return replace(request, messages=messages, tools=forced(request.tools, request.tool_choice))


def within(sampling: Sampling, context: int) -> Sampling:
    """vLLM refuses to write more than the context holds; the other engines stop there."""
    if not context or sampling.max_tokens is None or sampling.max_tokens <= context:
        return sampling
    return replace(sampling, max_tokens=context)


def specials_of(folder: Path) -> tuple[str, ...]:
    """The special tokens of a model: in a user's text they would end the user's turn. vLLM does read them there."""
    added = read_json(folder / "tokenizer.json").get("added_tokens") or ()
    by_number = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    entries = [entry for entry in (*added, *by_number.values()) if isinstance(entry, Mapping) and entry.get("special")]
    return tuple(dict.fromkeys(str(entry["content"]) for entry in entries if entry.get("content")))


def safe_messages(messages: Sequence[Message], specials: Sequence[str]) -> list[dict[str, Any]]:
    """The messages with no special token in their texts, and in the arguments of tool calls."""
    return [_safe(message, specials) for message in messages]


def _safe(message: Message, specials: Sequence[str]) -> dict[str, Any]:
    result = {key: value for key, value in message.items() if value is not None}
    content = result.get("content")
    if isinstance(content, str):
        result["content"] = without(content, specials)
    elif isinstance(content, list):
        parts = [
            {**part, "text": without(part["text"], specials)} if "text" in part else part for part in _joined(content)
        ]
        result["content"] = parts
    if calls := result.get("tool_calls"):
        result["tool_calls"] = [_safe_call(call, specials) for call in calls]
    return result


def _joined(parts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Texts that follow on each other in one part: a special token may lie on the seam."""
    for is_text, group in groupby(parts, lambda part: part.get("type", "text") == "text"):
        if is_text:
            yield {"type": "text", "text": "\n".join(str(part.get("text", "")) for part in group)}
        else:
            yield from group


def _safe_call(call: Mapping[str, Any], specials: Sequence[str]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    return {**call, "function": {**function, "arguments": without(str(function.get("arguments") or "{}"), specials)}}


def check_parts(messages: Sequence[Message], model: str, inputs: Set[str]) -> None:
    """UnsupportedError for parts that the model cannot read, or that would be fetched from somewhere."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type", "text")
            if kind == "text":
                continue
            if kind != "image_url" or "image" not in inputs:
                raise UnsupportedError(f"The model '{model}' reads {' and '.join(sorted(inputs))}, no {kind}.")
            told = part.get("image_url")
            url = told.get("url", "") if isinstance(told, Mapping) else told
            if not str(url).startswith("data:"):
                raise UnsupportedError("Images must be data URLs: the engine opens no connection.")


def forced(tools: Sequence[Message], choice: str) -> Sequence[Message]:
    """The tools; where one must be called, each "strict": only then vLLM keeps the call to the tool's schema."""
    if choice in ("auto", "none"):
        return tools
    return [{**tool, "function": {**dict(tool.get("function") or {}), "strict": True}} for tool in tools]
