"""A name -> a connection: from the environment, a remote provider, the workspace, or the built-in ``local``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from promptflow.connections import local
from promptflow.connections.custom import CustomConnection
from promptflow.connections.models import LocalConnection, _Connection
from promptflow.connections.references import resolved, variable_name
from promptflow.connections.store import ConnectionStore, not_found
from promptflow.connections.yamlform import from_mapping
from promptflow.exceptions import ConnectionNotFoundError, UserErrorException, ValidationException
from promptflow.tape.current import current
from promptflow.workspace import Workspace

CONNECTIONS_FILE = "PROMPTFLOW_CONNECTIONS"
ENCODED_CONNECTIONS = "PROMPTFLOW_ENCODED_CONNECTIONS"
HTTP_ENDPOINT = "PF_HTTP_CONNECTION_PROVIDER_ENDPOINT"


class ConnectionProvider:
    """The connections of the workspace that the environment names, by Microsoft's class name."""

    @classmethod
    def get_instance(cls, **kwargs: Any) -> ConnectionProvider:
        return cls()

    @classmethod
    def init_from_provider_config(cls, provider_config: str | None = None, **kwargs: Any) -> ConnectionProvider:
        return cls()

    def get(self, name: str) -> _Connection:
        return get_connection(name, Workspace.open())

    def list(self, **kwargs: Any) -> Sequence[_Connection]:
        return ConnectionStore(Workspace.open()).list()


def get_connection(name: Any, workspace: Workspace, environ: Mapping[str, str] = os.environ) -> _Connection:
    """The connection ``name``, ready to use: secrets and ``${env:X}`` filled in. A connection comes back as it is.

    Asked in this order: PROMPTFLOW_CONNECTIONS (a JSON file), PROMPTFLOW_ENCODED_CONNECTIONS, the built-in ``local``,
    PF_HTTP_CONNECTION_PROVIDER_ENDPOINT, the workspace, variables such as ``NAME_API_KEY``.
    """
    tape = current()
    if tape is None:
        return _find(name, workspace, environ)
    found: _Connection = tape.connection(name, lambda: _find(name, workspace, environ), from_dict)
    return found


def _find(name: Any, workspace: Workspace, environ: Mapping[str, str]) -> _Connection:
    if not isinstance(name, str):
        return _as_connection(name)
    found = _given(name, environ)
    if found is None and local.is_local(name):
        found = LocalConnection(name=name, model=local.model_of(name))
    found = found or _remote(name, workspace, environ) or _stored(name, workspace) or from_environment(name, environ)
    if found is None:
        raise _not_found(name, workspace)
    found = resolved(found, environ)
    if isinstance(found, LocalConnection) and not found.base_url:
        return local.connect(found.model or local.DEFAULT_MODEL, workspace)
    return found


def from_dict(data: Any, name: str | None = None, environ: Mapping[str, str] = os.environ) -> Any:
    """A connection from ``{"type": "OpenAIConnection", "value": {…}, "module": …}`` or from the YAML form."""
    if not isinstance(data, Mapping):
        return _as_connection(data)
    name = name or data.get("name") or ""
    if "value" not in data:
        return resolved(from_mapping({"name": name, **data}), environ)
    kind = str(data.get("type", ""))
    if kind.removesuffix("Connection") in _Connection.SUPPORTED_TYPES:
        return resolved(_Connection._from_execution_connection_dict(name, data), environ)
    return _of_module(name, kind, data)


def from_environment(name: str, environ: Mapping[str, str] = os.environ) -> _Connection | None:
    """A connection made of variables only: ``NAME_API_KEY``, ``NAME_API_BASE``, ``NAME_TYPE`` and so on.

    Without ``NAME_TYPE`` it is an Azure OpenAI one if it has an API base, else an OpenAI one.
    """
    prefix = variable_name(name, "")
    values = {key.removeprefix(prefix).lower(): value for key, value in environ.items() if key.startswith(prefix)}
    kind = values.pop("type", None)
    if kind is None:
        if "api_key" not in values:
            return None
        kind = "azure_open_ai" if values.get("api_base") or values.get("azure_endpoint") else "open_ai"
    if kind.lower() in ("custom", "customconnection"):
        return CustomConnection(name=name, secrets=values)
    return from_mapping({**values, "name": name, "type": kind})


def decode_connections(text: str) -> dict[str, Any]:
    """The connections of PROMPTFLOW_ENCODED_CONNECTIONS: JSON, gzipped, in base64."""
    import base64
    import zlib

    try:
        return dict(json.loads(zlib.decompress(base64.b64decode(text), 16 + zlib.MAX_WBITS)))
    except (ValueError, zlib.error) as error:
        raise UserErrorException(f"{ENCODED_CONNECTIONS} cannot be read: {error}.") from error


def encode_connections(connections: Mapping[str, Any]) -> str:
    import base64
    import gzip

    return base64.b64encode(gzip.compress(json.dumps(dict(connections)).encode())).decode()


def _as_connection(value: Any) -> _Connection:
    if getattr(type(value), "__promptflow_connection__", False) or is_dataclass(value):
        return value  # type: ignore[no-any-return]
    raise ValidationException(f"A connection is a name or a connection object, not {type(value).__name__}.")


def _given(name: str, environ: Mapping[str, str]) -> _Connection | None:
    """From what the environment says by itself."""
    file = environ.get(CONNECTIONS_FILE, "").strip()
    if file.startswith("{"):  # never shown: keys may be in there
        raise UserErrorException(
            f"{CONNECTIONS_FILE} holds JSON; it is the path of a JSON file.",
            location=f"environment: {CONNECTIONS_FILE}",
        )
    if file:
        known = _read_file(Path(file))
        if name in known:
            return from_dict(known[name], name, environ)  # type: ignore[no-any-return]
    encoded = environ.get(ENCODED_CONNECTIONS, "").strip()
    if encoded:
        known = decode_connections(encoded)
        if name in known:
            return from_dict(known[name], name, environ)  # type: ignore[no-any-return]
    return None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise UserErrorException(f"{CONNECTIONS_FILE}: cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserErrorException(f"{CONNECTIONS_FILE}: {path} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise UserErrorException(f"{CONNECTIONS_FILE}: {path} does not hold connections by name.")
    return data


def _remote(name: str, workspace: Workspace, environ: Mapping[str, str]) -> _Connection | None:
    endpoint = environ.get(HTTP_ENDPOINT, "").strip()
    if not endpoint:
        provider = str(workspace.settings.get("connection.provider") or "local")
        if provider.startswith("azureml"):
            raise UserErrorException(
                "connection.provider: Azure ML workspaces are not supported.",
                hint="pf config set connection.provider=local, and create the connection here",
            )
        endpoint = provider if provider.startswith(("http://", "https://")) else ""
    return _fetch(endpoint, name) if endpoint else None


def _fetch(endpoint: str, name: str) -> _Connection | None:
    from urllib.error import HTTPError, URLError
    from urllib.parse import quote
    from urllib.request import urlopen

    url = f"{endpoint.rstrip('/')}/connections/{quote(name, safe='')}"
    try:
        with urlopen(url, timeout=30) as response:
            data = json.load(response)
    except HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise UserErrorException(f"The connection provider {url} answered {error.code}.") from error
    except (URLError, OSError, ValueError) as error:
        raise UserErrorException(f"The connection provider {url} cannot be reached: {error}.") from error
    return from_dict(data, name)  # type: ignore[no-any-return]


def _stored(name: str, workspace: Workspace) -> _Connection | None:
    # Without a database there is nothing to find, and no reason to make one.
    if not _has_database(workspace):
        return None
    try:
        return ConnectionStore(workspace).get(name, with_secrets=True)
    except ConnectionNotFoundError:
        return None


def _not_found(name: str, workspace: Workspace) -> ConnectionNotFoundError:
    names = [str(c.name) for c in ConnectionStore(workspace).list()] if _has_database(workspace) else []
    return not_found(name, [*names, local.NAME])


def _has_database(workspace: Workspace) -> bool:
    return not workspace.db.is_sqlite or workspace.paths.database.exists()


def _of_module(name: str, kind: str, data: Mapping[str, Any]) -> Any:
    """A connection class of another package: a strong custom type or a dataclass."""
    import importlib

    module = data.get("module")
    try:
        cls = getattr(importlib.import_module(module), kind, None) if module else None
    except ImportError as error:
        raise UserErrorException(f"Connection '{name}': module {module} cannot be imported: {error}.") from error
    if not isinstance(cls, type):
        known = ", ".join(sorted(f"{known}Connection" for known in _Connection.SUPPORTED_TYPES))
        raise ValidationException(f"Unknown connection '{name}' type '{kind}'.", hint=f"known: {known}")
    values = dict(data["value"])
    if is_dataclass(cls):
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
    secret_keys = set(data.get("secret_keys") or ())
    secrets = {key: value for key, value in values.items() if key in secret_keys}
    configs = {key: value for key, value in values.items() if key not in secret_keys}
    return cls(name=name, configs=configs, secrets=secrets)
