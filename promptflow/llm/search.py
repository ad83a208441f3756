"""Web search through SerpApi."""

from __future__ import annotations

import os
from enum import Enum, StrEnum
from typing import Any
from urllib.parse import urlencode

from promptflow.connections.models import SerpConnection
from promptflow.exceptions import SerpAPISystemError, SerpAPIUserError
from promptflow.llm import background, transport
from promptflow.llm.endpoints import USER_AGENT, Endpoint
from promptflow.llm.failures import Failure
from promptflow.llm.retry import RetryPolicy
from promptflow.tooling.decorator import ToolProvider, tool

SEARCH_URL = "https://serpapi.com/search"  # SERPAPI_URL in the environment names another, such as a caching proxy


class SafeMode(StrEnum):
    ACTIVE = "active"
    OFF = "off"


class Engine(StrEnum):
    GOOGLE = "google"
    BING = "bing"


async def search(
    connection: SerpConnection,
    query: str,
    location: str | None = None,
    safe: str = SafeMode.OFF,
    num: int = 10,
    engine: str = Engine.GOOGLE,
) -> dict[str, Any]:
    """What SerpApi answers. Raises SerpAPIUserError or SerpAPISystemError."""
    parameters = search_parameters(query, location, safe, num, engine)
    key = connection.api_key or ""
    url = f"{os.environ.get('SERPAPI_URL') or SEARCH_URL}?{urlencode({**parameters, 'api_key': key})}"
    target = Endpoint(url, {"User-Agent": USER_AGENT}, key)
    return await transport.get(target, retries=RetryPolicy(retries=2), to_error=_search_error)


def search_parameters(query: str, location: str | None, safe: str, num: int, engine: str) -> dict[str, Any]:
    """Google and Bing have their own names for safe search and for the number of results."""
    name = str(engine.value if isinstance(engine, Enum) else engine)
    google = name.lower() == Engine.GOOGLE
    parameters: dict[str, Any] = {"q": query, "engine": name, "output": "json"}
    if location:
        parameters["location"] = location
    if safe == SafeMode.ACTIVE:
        parameters.update({"safe": "Active"} if google else {"safeSearch": "Strict"})
    if int(num) > 0:
        parameters["num" if google else "count"] = int(num)
    return parameters


def _search_error(failure: Failure, retries: int) -> Exception:
    message = f"SerpAPI search request failed: {failure.message}"
    if failure.status and failure.status < 500:
        return SerpAPIUserError(message, hint="check the key of the connection, and the query")
    return SerpAPISystemError(message)


class SerpAPI(ToolProvider):
    """Search as a tool."""

    def __init__(self, connection: SerpConnection) -> None:
        super().__init__()
        self.connection = connection

    @tool
    def search(
        self,
        query: str,
        location: str | None = None,
        safe: SafeMode = SafeMode.OFF,
        num: int = 10,
        engine: Engine = Engine.GOOGLE,
    ) -> dict[str, Any]:
        return background.run(search(self.connection, query, location, safe, num, engine))
