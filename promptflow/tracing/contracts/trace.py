"""The kinds of traced things, and a traced call as a record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class TraceType(str, Enum):  # noqa: UP042 (its text is Microsoft's: TraceType.LLM)
    """What a span stands for."""

    LLM = "LLM"
    FUNCTION = "Function"
    LANGCHAIN = "LangChain"
    FLOW = "Flow"
    EMBEDDING = "Embedding"
    RETRIEVAL = "Retrieval"
    TOOL = "Tool"


@dataclass
class Trace:
    """One traced call. Times are seconds since 1970; ``children`` are the calls made inside it."""

    name: str
    type: TraceType
    inputs: dict[str, Any]
    output: Any = None
    start_time: float | None = None
    end_time: float | None = None
    error: Any = None
    children: list[Trace] | None = None
    node_name: str | None = None
    parent_id: str = ""
    id: str = ""
    function: str = ""
