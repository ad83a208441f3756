"""Door: the prompt tool."""

from typing import Any

from promptflow.llm.prompt_node import render_prompt_node
from promptflow.llm.roles import PromptResult
from promptflow.tooling.decorator import INPUTS_TO_ESCAPE_PARAM_KEY, tool

__all__ = ["render_template_jinja2"]


@tool
def render_template_jinja2(template: str, **kwargs: Any) -> PromptResult:
    escape = kwargs.pop(INPUTS_TO_ESCAPE_PARAM_KEY, None) or ()
    return render_prompt_node(template, kwargs, escape=escape)
