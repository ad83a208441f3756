"""What Runnables take and give, in terms of flows: named inputs, text."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable


def as_text(value: Any) -> Any:
    """The text of a message or prompt; anything else as it is."""
    if isinstance(value, BaseMessage):
        return value.content if isinstance(value.content, str) else str(value.text)
    return value.to_string() if isinstance(value, PromptValue) else value


def input_names(runnable: Runnable[Any, Any]) -> list[str] | None:
    """The names of the inputs of a Runnable that takes a dictionary; None where it takes one value or does not say."""
    try:
        schema = runnable.get_input_jsonschema()
    except Exception:  # schemas of user code: anything may be raised
        return None
    properties = schema.get("properties")
    return list(properties) if schema.get("type") == "object" and properties else None
