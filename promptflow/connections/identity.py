"""What a connection leads to, whoever asks: two with the same identity get the same answers."""

from __future__ import annotations

import os
from typing import Any

from promptflow._version import __version__
from promptflow.connections.local import RunningLocalConnection
from promptflow.connections.models import OpenAIConnection

# How one signs, for whom, and how often one may ask.
_NO_PART = frozenset(
    ("auth_mode", "organization", "requests_per_minute", "resource_id", "tokens_per_minute")
)  # fmt: skip


def identity(connection: Any) -> dict[str, Any]:
    """Type, address and version of the service, without secrets."""
    found = {key: value for key, value in connection.configs.items() if key not in _NO_PART and value is not None}
    if isinstance(connection, RunningLocalConnection):  # its port is another each time; its server comes with us
        found |= {"base_url": __version__, "model": connection.found("").exact}
    elif isinstance(connection, OpenAIConnection):
        found["base_url"] = found.get("base_url") or os.environ.get("OPENAI_BASE_URL")
    return {"type": type(connection).__name__, **found}
