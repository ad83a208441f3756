"""`client.connections`: the connections of the workspace."""

from __future__ import annotations

from typing import Any

from promptflow.connections import _Connection
from promptflow.connections.store import ConnectionStore
from promptflow.workspace import Workspace


class ConnectionOperations:
    """Secrets are kept encrypted, and shown only to those who ask ``with_secrets``."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = ConnectionStore(workspace)

    def list(self, max_results: int | None = None, all_results: bool = False) -> list[_Connection]:
        """All connections, by name."""
        found: list[_Connection] = self._store.list()
        return found if all_results or max_results is None else found[:max_results]

    def get(self, name: str, with_secrets: bool = False, **kwargs: Any) -> _Connection:
        """Raises ConnectionNotFoundError."""
        return self._store.get(name, with_secrets=with_secrets)

    def create_or_update(self, connection: _Connection, **kwargs: Any) -> _Connection:
        """Keep a connection; a secret given as ``******`` stays what it was."""
        return self._store.create_or_update(connection)

    def delete(self, name: str) -> None:
        self._store.delete(name)
