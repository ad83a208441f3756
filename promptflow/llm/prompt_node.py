"""Prompt nodes: a template rendered to text that still knows which of its words came from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from promptflow.llm.roles import MARK, PromptResult, escape_inputs
from promptflow.tooling.render import render


def render_prompt_node(template: str, values: Mapping[str, Any], *, escape: Collection[str] = ()) -> PromptResult:
    """Render ``template``. ``escape`` names the values from outside the flow.

    The result is the plain text; a prompt that includes it later gets its escaped form, so that role lines of the
    values stay text there.
    """
    result = PromptResult(render(template, dict(values)))
    escaped = escape_inputs(values, escape)
    if any(escaped[name] is not values[name] and escaped[name] != values[name] for name in values):
        marked = render(template, escaped)
        result.escaped_string = marked if MARK in marked else ""
    return result
