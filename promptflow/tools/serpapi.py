"""Door: web search."""

from typing import Any

from promptflow.connections.models import SerpConnection
from promptflow.llm.search import Engine, SafeMode, SerpAPI
from promptflow.tooling.decorator import tool

__all__ = ["Engine", "SafeMode", "SerpAPI", "search"]


@tool
def search(
    connection: SerpConnection,
    query: str,
    location: str | None = None,
    safe: SafeMode = SafeMode.OFF,
    num: int = 10,
    engine: Engine = Engine.GOOGLE,
) -> dict[str, Any]:
    return SerpAPI(connection).search(query, location, safe, num, engine)
