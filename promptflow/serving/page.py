"""The page at ``/``: a chat for chat flows, a form of inputs for the others. One file, nothing from outside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from promptflow.contracts.tool import ValueType
from promptflow.serving.loaded import ServedFlow

_MARK = "/*FLOW*/"


def page(flow: ServedFlow) -> str:
    """The page of one flow."""
    # `<` is written so that no text of the flow can end the script element.
    facts = json.dumps(facts_of(flow), default=str).replace("<", "\\u003c")
    return _template().replace(_MARK, facts)


def facts_of(flow: ServedFlow) -> dict[str, Any]:
    """What the page has to know of the flow."""
    definition = flow.definition
    return {
        "name": flow.name,
        "title": getattr(definition, "display_name", None) or flow.name,
        "description": getattr(definition, "description", None) or "",
        "chat": _chat(definition),
        "format": definition.message_format,
        "inputs": [
            {
                "name": name,
                "type": input.type.value if isinstance(input.type, ValueType) else str(input.type),
                "default": input.default if input.has_default else None,
                "required": name in flow.required,
                "description": input.description,
                "choices": list(input.enum),
            }
            for name, input in definition.inputs.items()
        ],
        "outputs": [name for name in definition.outputs if name not in flow.hidden],
    }


def _chat(definition: Any) -> dict[str, Any] | None:
    """Names of the question, the history and the answer of a chat flow."""
    question = next((name for name, i in definition.inputs.items() if i.is_chat_input), None)
    if question is None:
        return None
    history = next((name for name, i in definition.inputs.items() if i.is_chat_history), None)
    answer = next((name for name, o in definition.outputs.items() if o.is_chat_output), None)
    return {
        "input": question,
        "history": history or ("chat_history" if "chat_history" in definition.inputs else None),
        "output": answer or next(iter(definition.outputs), "output"),
    }


@cache
def _template() -> str:
    return Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
