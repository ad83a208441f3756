"""Text that comes from the outside must not open a message of its own.

A chat prompt is text in which a line such as ``user:`` opens a message, and ``name:``, ``content:``, ``tool_call_id:``
and ``tool_calls:`` mark its parts. ``escape`` puts a mark into every such word of a value before the value is rendered;
after the prompt has been split into messages ``unescape`` takes the marks out again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, overload

ROLES = ("system", "user", "assistant", "function", "tool")

# Digits only: they survive repr(), tojson and the case filters of a template. Someone who writes the mark into a value
# loses these digits and gains nothing, because it is taken out after the prompt has been split.
MARK = "602214076138064852817497"

# Possessive quantifiers keep the search linear on values of many thousand blanks or newlines.
_HEADER = re.compile(
    rf"""
      ^(?P<open>[^\S\n]*+\#{{0,2}}[^\S\n]*+)(?P<role>(?i:{"|".join(ROLES)}))(?=[^\S\n]*+:[^\S\n]*+(?:\n|\Z))
    | (?P<part>(?:tool_call_id|tool_calls|name)(?=\s*+:[^\S\n]*+(?:\n|\Z))|content(?=\s*+:))
    | (?<=\n)(?P<last>[^\S\n]*+\#{{0,2}}[^\S\n]*+)
      (?P<end>(?i:{"|".join(ROLES)})|tool_call_id|tool_calls|name|content)(?=[^\S\n]*+\Z)
    | (?P<colon>\A(?=[^\S\n]*+:[^\S\n]*+(?:\n|\Z)))
    """,
    re.VERBOSE | re.MULTILINE,
)


class PromptResult(str):
    """A rendered prompt that remembers its text with the outside values escaped."""

    escaped_string: str = ""

    @property
    def original_string(self) -> str:
        return str(self)

    def get_escape_string(self) -> str:
        return self.escaped_string

    def need_to_escape(self) -> bool:
        return bool(self.escaped_string)


class ChatInputList(list[Any]):
    """A list that renders one item a line, so that a list of messages reads as messages."""

    def __init__(self, items: Any = None) -> None:
        super().__init__(items or [])

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def as_chat_list(value: Any) -> Any:
    """``value`` with every list in it as a ``ChatInputList``."""
    if isinstance(value, dict):
        return {key: as_chat_list(item) for key, item in value.items()}
    if isinstance(value, list):
        return ChatInputList([as_chat_list(item) for item in value])
    return value


def escape(value: Any) -> Any:
    """``value`` with a mark in every word that could open a message or a part of one."""
    if isinstance(value, str):
        if ":" not in value and "\n" not in value:
            return value
        marked = _HEADER.sub(_mark, value)
        return value if marked == value else marked
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, ChatInputList):
        return ChatInputList([escape(item) for item in value])
    if type(value) in (list, tuple):
        return type(value)(escape(item) for item in value)
    return value


def _mark(match: re.Match[str]) -> str:
    # Inside the word: the parts of a message are looked for anywhere in a line, not only at its start.
    before = match["open"] or match["last"] or ""
    word = match["role"] or match["part"] or match["end"] or ""
    return f"{before}{word[:1]}{MARK}{word[1:]}"


@overload
def unescape(value: str) -> str: ...
@overload
def unescape(value: Any) -> Any: ...
def unescape(value: Any) -> Any:
    """``value`` without marks, at any depth."""
    if isinstance(value, str):
        return value.replace(MARK, "") if MARK in value else value
    if isinstance(value, dict):
        return {key: unescape(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(unescape(item) for item in value)
    return value


def escape_inputs(inputs: Mapping[str, Any], outside: Collection[str]) -> dict[str, Any]:
    """The inputs of a prompt, those named in ``outside`` escaped, prompts of earlier nodes in their escaped form."""
    return {name: _escaped(value, name in outside) for name, value in inputs.items()}


def _escaped(value: Any, outside: bool) -> Any:
    if isinstance(value, PromptResult) and value.escaped_string:
        return value.escaped_string
    return escape(value) if outside else value
