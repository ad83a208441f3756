"""Connections in the workspace: a row each, every secret encrypted."""

from __future__ import annotations

from typing import Any

from promptflow.connections.custom import CustomStrongTypeConnection
from promptflow.connections.models import SCRUBBED, USER_INPUT, _Connection, is_scrubbed
from promptflow.connections.references import has_references, resolved
from promptflow.exceptions import ConnectionNotFoundError, UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text

_TABLE = "connections"
RESERVED = "local"


class ConnectionStore:
    """The connections of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def list(self) -> list[_Connection]:
        """All of them by name, their secrets ``******``."""
        return [self._connection(row, with_secrets=False) for row in self._workspace.store.list(_TABLE)]

    def get(self, name: str, with_secrets: bool = False) -> _Connection:
        """One connection. ConnectionNotFoundError says which names are alike."""
        row = self._workspace.store.get(_TABLE, name)
        if row is None:
            raise not_found(name, [row["name"] for row in self._workspace.store.list(_TABLE, columns=["name"])])
        return self._connection(row, with_secrets)

    def create_or_update(self, connection: _Connection) -> _Connection:
        """Keep it; a secret that is empty, stars or ``<no-change>`` stays what it was. The result is scrubbed."""
        if not connection.name:
            raise UserErrorException("Name is required to create or update connection.")
        if connection.name == RESERVED or connection.name.startswith(f"{RESERVED}:"):
            raise ValidationException(f"'{connection.name}' is the built-in connection.", hint="choose another name")
        if isinstance(connection, CustomStrongTypeConnection):
            connection = connection._convert_to_custom()
        if connection.TYPE == "Custom" and not connection.secrets:
            raise UserErrorException(
                f"Secrets is required for custom connection '{connection.name}'.",
                hint="CustomConnection(configs={…}, secrets={…})",
            )
        now = now_text()
        with self._workspace.db.write():
            row = self._workspace.store.get(_TABLE, str(connection.name))
            secrets = self._secrets(connection, row)
            config = {"module": connection.module, "configs": connection.configs, "secrets": secrets}
            values = {"name": connection.name, "type": connection.TYPE, "config": config}
            self._workspace.store.put(_TABLE, {**values, "created": now, "updated": now})
        return self.get(str(connection.name))

    def delete(self, name: str) -> None:
        if not self._workspace.store.delete(_TABLE, name):
            raise not_found(name)

    def _secrets(self, connection: _Connection, row: dict[str, Any] | None) -> dict[str, str]:
        """The secrets to keep, encrypted."""
        kept: dict[str, str] = row["config"]["secrets"] if row else {}
        chosen: dict[str, str] = {}
        missing: list[str] = []
        for key, value in connection.secrets.items():
            if not is_scrubbed(value) and value != USER_INPUT:
                chosen[key] = self._workspace.secrets.encrypt(str(value))
            elif value != USER_INPUT and key in kept:
                chosen[key] = kept[key]
            else:
                missing.append(key)
        if missing and not _needs_no_key(connection):
            raise ValidationException(
                f"Connection '{connection.name}': no value for the secrets {', '.join(missing)}.",
                hint="give them a value; `${env:NAME}` refers to an environment variable",
            )
        return chosen

    def _connection(self, row: dict[str, Any], with_secrets: bool) -> _Connection:
        config = row["config"]
        secrets = {
            key: self._workspace.secrets.decrypt(value) if with_secrets else SCRUBBED
            for key, value in config["secrets"].items()
        }
        connection = _Connection._from_execution_connection_dict(
            row["name"],
            {
                "type": f"{row['type']}Connection",
                "value": {**config["configs"], **secrets},
                "secret_keys": list(secrets),
            },
        )
        connection.module = config.get("module") or connection.module
        connection.created_date = row["created"]
        connection.last_modified_date = row["updated"]
        if with_secrets:
            _resolve_what_can_be(connection)
        return connection


def not_found(name: str, names: list[str] | None = None) -> ConnectionNotFoundError:
    import difflib

    near = difflib.get_close_matches(name, names or [], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`pf connection list` shows all; `create` makes one"
    return ConnectionNotFoundError(f"Connection '{name}' is not found.", hint=hint)


def _needs_no_key(connection: _Connection) -> bool:
    return connection.TYPE == "Local" or connection.configs.get("auth_mode", "key") != "key"


def _resolve_what_can_be(connection: _Connection) -> None:
    """References to variables that are set; others stay, and are an error when the connection is used."""
    if any(has_references(value) for value in (*connection.configs.values(), *connection.secrets.values())):
        try:
            resolved(connection)
        except UserErrorException:
            pass
