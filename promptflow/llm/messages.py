"""Prompt text -> chat messages: roles, names, tool calls, images."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from promptflow.contracts.multimedia import Image
from promptflow.exceptions import (
    ChatAPIFunctionRoleInvalidFormat,
    ChatAPIInvalidRole,
    ChatAPIToolRoleInvalidFormat,
    JinjaTemplateError,
)
from promptflow.llm.roles import ROLES, escape_inputs, unescape
from promptflow.tooling.render import render

Message = dict[str, Any]

# Possessive quantifiers (`*+`) keep every one of these linear on long runs of blanks.
_ROLE_LINE = re.compile(rf"(?im)^[^\S\n]*+#?+[^\S\n]*+({'|'.join(ROLES)})[^\S\n]*+:[^\S\n]*+\n")
_NAME = re.compile(r"name\s*+:(?=[^\S\n]*+\n)\s*+(\S+)\s*+#{0,2}\s*+content\s*+:\s*+(.*)", re.DOTALL)
_TOOL_CALL_ID = re.compile(r"tool_call_id\s*+:(?=[^\S\n]*+\n)\s*+(\S+)\s*+#{0,2}\s*+content\s*+:\s*+(.*)", re.DOTALL)
_TOOL_CALLS = re.compile(r"tool_calls\s*+:(?=[^\S\n]*+\n)\s*+(\[.*)", re.DOTALL)
_IMAGE_IN_TEMPLATE = re.compile(r"!\[\s*image\s*\]\((\{\{\s*[^\s{}]+\s*\}\})\)")


def build_messages(
    template: str,
    inputs: Mapping[str, Any],
    *,
    outside: Collection[str] = (),
    detail: str = "auto",
    images: Iterable[Image] = (),
) -> list[Message]:
    """Render a chat prompt and split it into messages.

    ``outside`` names the inputs whose text comes from outside the flow: role lines in them stay text. Images among
    the inputs, and ``images``, become ``image_url`` parts; ``detail`` says how closely the model shall look at them.
    """
    template = image_lines(template)
    known = {str(image): image for image in (*images, *find_images(inputs))}
    try:
        text = render(template, escape_inputs(inputs, outside))
    except JinjaTemplateError as error:
        raise JinjaTemplateError(unescape(error.message), hint=error.hint) from error.__cause__
    return parse_chat(text, known, detail)


def parse_chat(
    text: str, images: Mapping[str, Image] | Iterable[Image] | None = None, detail: str = "auto"
) -> list[Message]:
    """Split rendered prompt text into messages. ``images``: those that lines of the text stand for."""
    known = images if isinstance(images, Mapping) else {str(image): image for image in images or ()}
    pieces = _ROLE_LINE.split(text)
    if pieces[0].strip():
        raise _no_role(unescape(pieces[0].strip()))
    messages: list[Message] = []
    for role, body in zip(pieces[1::2], pieces[2::2], strict=True):
        messages.append(_message(role.lower(), body, known, detail))
    return messages


def _message(role: str, body: str, images: Mapping[str, Image], detail: str) -> Message:
    message: Message = {"role": role}
    if role == "tool":
        match = _TOOL_CALL_ID.search(body)
        if match is None:
            raise _bad_tool_role()
        message["tool_call_id"] = unescape(match[1])
        message["content"] = content_parts(match[2], images, detail)
        return message
    if role == "assistant":
        calls = parse_tool_calls(body)
        if calls is not None:
            message["tool_calls"] = unescape(calls)
            return message
    match = _NAME.search(body)
    if match is not None:
        message["name"] = unescape(match[1])
        body = match[2]
    elif role == "function":
        raise _bad_function_role()
    message["content"] = content_parts(body, images, detail)
    return message


def parse_tool_calls(text: str) -> list[Any] | None:
    """The list below a ``tool_calls:`` line, as Python or JSON wrote it; None where there is none."""
    match = _TOOL_CALLS.search(text)
    if match is None:
        return None
    literal = match[1].strip()
    # Prompts of old put text after the list; they meant the list up to its first bracket.
    for candidate in (literal, literal[: literal.find("]") + 1]):
        for read in (ast.literal_eval, json.loads):
            try:
                calls = read(candidate)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                continue
            if isinstance(calls, list):
                return calls
    return None


def content_parts(text: str, images: Mapping[str, Image], detail: str = "auto") -> str | list[dict[str, Any]]:
    """The content of a message: its text, or parts where some of its lines are images."""
    text = text.strip()
    if not images or not any(name in text for name in images):
        return unescape(text)
    parts: list[dict[str, Any]] = []
    has_image = False
    for line in text.split("\n"):
        image = images.get(line.strip())
        if image is not None:
            url = image.source_url or image.to_base64(with_type=True)
            parts.append({"type": "image_url", "image_url": {"url": url, "detail": detail}})
            has_image = True
        elif line.strip():
            parts.append({"type": "text", "text": unescape(line)})
    return parts if has_image else unescape(text)


@functools.lru_cache(maxsize=512)
def image_lines(template: str) -> str:
    """``![image]({{x}})`` -> ``{{x}}`` on a line of its own."""
    return _IMAGE_IN_TEMPLATE.sub(lambda match: f"\n{match[1]}\n", template)


def find_images(value: Any) -> list[Image]:
    """Every image in a value, in order, once each."""
    found: dict[str, Image] = {}
    _collect_images(value, found)
    return list(found.values())


def _collect_images(value: Any, found: dict[str, Image]) -> None:
    if type(value) is str:  # most are
        return
    if isinstance(value, Image):
        found.setdefault(str(value), value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect_images(item, found)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect_images(item, found)


def _no_role(found: str) -> ChatAPIInvalidRole:
    roles = ", ".join(f"'{role}:'" for role in ROLES)
    return ChatAPIInvalidRole(
        "The Chat API requires a specific format for prompt definition: every message starts with its role on a line "
        f"of its own ({roles}). Found before the first role: '{_short(found)}'.",
        hint="put a line such as 'system:' or 'user:' before the text, or set 'api: completion'",
    )


def _bad_function_role() -> ChatAPIFunctionRoleInvalidFormat:
    return ChatAPIFunctionRoleInvalidFormat(
        "Failed to parse function role prompt. A message of role 'function' needs the name of the function and its "
        "result: 'name:\\nfunction_name\\ncontent:\\nresult'."
    )


def _bad_tool_role() -> ChatAPIToolRoleInvalidFormat:
    return ChatAPIToolRoleInvalidFormat(
        "Failed to parse tool role prompt. A message of role 'tool' needs the id of the call it answers and the "
        "result: 'tool_call_id:\\nid\\ncontent:\\nresult'."
    )


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"
