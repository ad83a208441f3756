"""Door: the LLM-Vision tool."""

from typing import Any

from promptflow.contracts.types import PromptTemplate
from promptflow.llm.any_model import call_any
from promptflow.tooling.decorator import tool

__all__ = ["llm_vision"]


@tool(streaming_option_parameter="stream")
def llm_vision(connection: Any, prompt: PromptTemplate, **kwargs: Any) -> Any:
    return call_any("vision", connection, prompt, kwargs)
