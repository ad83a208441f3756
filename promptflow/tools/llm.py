"""Door: the LLM tool."""

from typing import Any

from promptflow.contracts.types import PromptTemplate
from promptflow.llm.any_model import call_any
from promptflow.tooling.decorator import tool

__all__ = ["llm"]


@tool(streaming_option_parameter="stream")
def llm(connection: Any, prompt: PromptTemplate, api: str = "chat", **kwargs: Any) -> Any:
    return call_any("completion" if api == "completion" else "chat", connection, prompt, kwargs)
