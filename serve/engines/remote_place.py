"""Where a server is that speaks the OpenAI API, and how requests to it are signed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from promptflow._version import __version__
from promptflow.connections.models import (
    AzureOpenAIConnection,
    LocalConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.exceptions import ValidationException
from promptflow.llm.endpoints import OPENAI_URL
from promptflow.workspace.redact import MASK, hide
from serve.engines.base import UnsupportedError

SHORTEST = 8  # characters of a secret that is looked for in texts: shorter ones would take words out of them
OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Place:
    """``base`` ends where the route begins. ``headers`` and ``query`` may hold keys, and are never shown; ``socket`` is
    the path of a Unix socket, where the server listens on one."""

    base: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    socket: str = ""

    def url(self, route: str) -> str:
        return f"{self.base}/{route}{self.query}"

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else self.base

    @property
    def on_this_machine(self) -> bool:
        return bool(self.socket) or urlsplit(self.base).hostname in LOOPBACK

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own service, which takes no fields but its own."""
        host = urlsplit(self.base).hostname or ""
        return any(host == name.removeprefix(".") or host.endswith(name) for name in OPENAI_HOSTS)

    def hide(self, text: str) -> str:
        """``text`` without the secrets: some servers repeat what they were sent."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


def place_at(base_url: str, api_key: str = "", headers: Mapping[str, str] | None = None) -> Place:
    """``base_url`` as OpenAI's clients take it, with or without /v1, or ``unix:///path/of.sock``."""
    parts = urlsplit(base_url)
    signed = {**({"Authorization": f"Bearer {api_key}"} if api_key else {}), **(headers or {})}
    secrets = _secrets(api_key, *(headers or {}).values())
    if parts.scheme == "unix" and parts.path:
        return Place("http://localhost/v1", _headers(signed), secrets=secrets, socket=parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "base_url=http://HOST:PORT/v1, or unix:///path/of.sock"
        raise ValidationException("The address of the server is neither http:// nor https://.", hint=hint)
    if parts.username or parts.password or parts.query or parts.fragment:
        hint = "keys belong into a connection: --connection NAME"
        raise ValidationException("The address of the server holds more than a host, a port and a path.", hint=hint)
    path = parts.path.rstrip("/") or "/v1"
    return Place(urlunsplit((parts.scheme, parts.netloc, path, "", "")), _headers(signed), secrets=secrets)


def place_of(connection: Any, model: str) -> Place:
    """Where the server of a connection is; of Azure OpenAI, the deployment called ``model``."""
    if isinstance(connection, LocalConnection):
        hint = "pf model serve MODEL, without --engine remote"
        raise ValidationException(f"The connection '{connection.name}' is of a model on this machine.", hint=hint)
    key = getattr(connection, "api_key", None) or ""
    if isinstance(connection, AzureOpenAIConnection):
        if not key:
            message = f"The connection '{connection.name}' signs in without a key, which a server cannot do for others."
            raise UnsupportedError(message, hint="give it a key (auth_mode: key)")
        base = connection.api_base.rstrip("/")
        query = ""
        if not base.endswith("/openai/v1"):
            base, query = f"{base}/openai/deployments/{quote(model, safe='')}", f"?api-version={connection.api_version}"
        return Place(base, _headers({"api-key": key}), query, _secrets(key))
    if isinstance(connection, ServerlessConnection):
        base = connection.api_base.rstrip("/")
        return place_at(base if base.endswith("/v1") else f"{base}/v1", key)
    if isinstance(connection, OpenAIConnection):
        organization = {"OpenAI-Organization": connection.organization} if connection.organization else {}
        return place_at(connection.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL, key, organization)
    raise ValidationException(
        f"The connection '{connection.name}' is of type {connection.TYPE}: no server that speaks the OpenAI API.",
        hint="open_ai (any server, with base_url), azure_open_ai or serverless",
    )


def _secrets(*values: str) -> tuple[str, ...]:
    hide(values)
    return tuple(sorted({value for value in values if len(value) >= SHORTEST}, key=len, reverse=True))


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    # A packed stream would come in bursts; and what is packed may be larger than memory.
    plain = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return {**plain, "User-Agent": f"promptflow/{__version__}", **more}
