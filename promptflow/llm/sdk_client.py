"""OpenAI's own SDK, for tools that call it themselves: a connection as what its clients take."""

from __future__ import annotations

from typing import Any

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection, ServerlessConnection
from promptflow.llm.endpoints import unsupported
from promptflow.workspace.optional import need


def client_arguments(connection: Any) -> dict[str, Any]:
    """Keyword arguments of the SDK's clients. They shall not retry: `handle_openai_error` does."""
    if isinstance(connection, AzureOpenAIConnection):
        key = connection.api_key
        signed = {"api_key": key} if key else {"azure_ad_token_provider": connection.get_token}
        version, endpoint = connection.api_version, connection.api_base
        return {"max_retries": 0, **signed, "api_version": version, "azure_endpoint": endpoint}
    if isinstance(connection, OpenAIConnection):
        return {
            "max_retries": 0,
            "api_key": connection.api_key,
            "organization": connection.organization,
            "base_url": connection.base_url,
        }
    if isinstance(connection, ServerlessConnection):
        base = connection.api_base
        url = base if base.endswith("/v1") else f"{base}/v1"
        return {"max_retries": 0, "api_key": connection.api_key, "base_url": url}
    raise unsupported(connection)


def openai_client(connection: Any) -> Any:
    """``openai.OpenAI`` for a connection."""
    return need("openai", extra="openai").OpenAI(**client_arguments(connection))


def azure_openai_client(connection: Any) -> Any:
    """``openai.AzureOpenAI`` for a connection."""
    return need("openai", extra="openai").AzureOpenAI(**client_arguments(connection))
