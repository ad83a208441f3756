"""A connection -> where a request goes and how it is signed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from promptflow._version import __version__
from promptflow.connections.local import RunningLocalConnection
from promptflow.connections.models import (
    AzureOpenAIConnection,
    LocalConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.exceptions import InvalidModelConnection, LLMError

if TYPE_CHECKING:
    from promptflow.llm.throttle import Throttle

OPENAI_URL = "https://api.openai.com/v1"
USER_AGENT = f"promptflow/{__version__}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of one model. ``headers`` hold the key, and are never shown; ``throttle`` the connection's limits;
    ``model`` is what the server calls the model, where a request's body has another name for it."""

    url: str
    headers: dict[str, str] = field(repr=False)
    secret: str = field(default="", repr=False)
    throttle: Throttle | None = field(default=None, repr=False)
    model: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What a server that is asked too much means: this address for this key."""
        return self.url, self.secret

    def hide(self, text: str) -> str:
        """``text`` without the key: some servers repeat what they were sent."""
        return text.replace(self.secret, "******") if len(self.secret) >= 8 else text


async def endpoint(connection: Any, route: str, model: str) -> Endpoint:
    """Where ``route`` (``chat/completions``, ``completions``, ``embeddings``) of a model is."""
    if isinstance(connection, AzureOpenAIConnection):
        if not model:
            raise LLMError(
                "Azure OpenAI needs the name of a deployment.",
                hint="add deployment_name to the node, or azure_deployment to the prompty",
            )
        key = connection.api_key
        # On a thread: azure-identity asks the network, or the Azure CLI, and blocks meanwhile.
        secret = key or await asyncio.to_thread(connection.get_token)
        headers = _headers(**({"api-key": key} if key else {"Authorization": f"Bearer {secret}"}))
        return Endpoint(_azure_url(connection, route, model), headers, secret, _throttle(connection))
    if isinstance(connection, RunningLocalConnection):
        # On a thread: it starts a process, which then reads a model.
        place = connection.place_if_known(model)
        if place is None:
            place = await asyncio.to_thread(connection.place, model)
        key = connection.api_key
        called = "" if place.model == model else place.model
        return Endpoint(f"{place.url}/{route}", _signed(key, {}), key, _throttle(connection), called)
    if isinstance(connection, OpenAIConnection):
        base = connection.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        organization = connection.organization or os.environ.get("OPENAI_ORG_ID")
        headers = _signed(connection.api_key, {"OpenAI-Organization": organization} if organization else {})
        return Endpoint(f"{base.rstrip('/')}/{route}", headers, connection.api_key or "", _throttle(connection))
    if isinstance(connection, ServerlessConnection):
        base = connection.api_base.rstrip("/")
        url = f"{base}{'' if base.endswith('/v1') else '/v1'}/{route}"
        return Endpoint(url, _signed(connection.api_key, {}), connection.api_key or "", _throttle(connection))
    raise unsupported(connection)


def own_model(connection: Any) -> str:
    """The model that a connection has by itself, where none is named."""
    return (connection.model or "") if isinstance(connection, LocalConnection) else ""


def exact_model(connection: Any, model: str) -> str:
    """``model`` with its version, where a local one has versions: what answers depend on."""
    return connection.found(model).exact if isinstance(connection, RunningLocalConnection) else model


def _throttle(connection: AzureOpenAIConnection | OpenAIConnection | ServerlessConnection) -> Throttle | None:
    requests, tokens = connection.requests_per_minute, connection.tokens_per_minute
    if not requests and not tokens:
        return None
    from promptflow.llm.throttle import throttle_for  # few connections have limits

    return throttle_for(connection, requests or 0, tokens or 0)


def unsupported(connection: Any) -> InvalidModelConnection:
    return InvalidModelConnection(
        f"Not Support connection type '{type(connection).__name__}' for a call to a model. Connection type should be "
        "in [AzureOpenAIConnection, OpenAIConnection, ServerlessConnection].",
        hint="give the node, prompty or call a connection of one of these types",
    )


def is_azure(connection: Any) -> bool:
    return isinstance(connection, AzureOpenAIConnection)


def _headers(**more: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT, **more}


def _signed(api_key: str | None, more: dict[str, str]) -> dict[str, str]:
    return _headers(**({"Authorization": f"Bearer {api_key}"} if api_key else {}), **more)


def _azure_url(connection: AzureOpenAIConnection, route: str, deployment: str) -> str:
    base = connection.api_base.rstrip("/")
    if base.endswith("/openai/v1"):  # Azure's newer API: the same routes as OpenAI's, no deployments, no version
        return f"{base}/{route}"
    return f"{base}/openai/deployments/{quote(deployment, safe='')}/{route}?api-version={connection.api_version}"
