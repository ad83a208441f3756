"""Door: the connections of a dict or of PROMPTFLOW_CONNECTIONS, as tests of tool packages ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptflow.connections.provider import from_dict, get_connection
from promptflow.exceptions import ConnectionNotFoundError
from promptflow.workspace import Workspace

__all__ = ["ConnectionManager"]


class ConnectionManager:
    """Connections by name: of ``_dict``, or of this environment and workspace."""

    def __init__(self, _dict: Mapping[str, Any] | None = None) -> None:
        self._given = None if _dict is None else {name: from_dict(data, name) for name, data in _dict.items()}

    @classmethod
    def init_from_env(cls) -> ConnectionManager:
        return cls()

    def get(self, connection_info: Any) -> Any:
        """The connection, or None if there is none of this name; a connection comes back as it is."""
        if self._given is not None and isinstance(connection_info, str):
            return self._given.get(connection_info)
        try:
            return get_connection(connection_info, Workspace.open())
        except ConnectionNotFoundError:
            return None
