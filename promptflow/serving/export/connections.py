"""The connections that a flow needs, as files without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.connections import local
from promptflow.connections.models import _Connection as Connection
from promptflow.connections.provider import get_connection
from promptflow.connections.references import variable_name
from promptflow.connections.yamlform import dump_connection
from promptflow.exceptions import UserErrorException
from promptflow.executor.loader import load_executor
from promptflow.workspace import Workspace

_IN_VARIABLE = re.compile(r"^\$\{([^.:}]+)\.[^}]+\}$")


def used_connections(file: Path, definition: Any, workspace: Workspace, variant: str | None) -> list[Connection]:
    """Every connection that the flow names: in nodes of any kind, in variables, in a prompty, in a class's arguments.

    A DAG's tools are loaded, for only they tell which of their inputs are connections.
    """
    if definition.kind == "dag":
        executor = load_executor(file, variant=variant, workspace=workspace)
        assert executor.origin is not None
        found = dict(executor.origin.found)
    else:
        names = [*_in_variables(definition.environment_variables), *_in_code(definition)]
        found = {name: get_connection(name, workspace) for name in names}
    return [connection for name, connection in sorted(found.items()) if not local.is_local(name)]


def write_connections(connections: list[Connection], folder: Path) -> list[str]:
    """Write a YAML file each, ``${env:NAME_KEY}`` for its secrets; gives the names of those variables."""
    folder.mkdir(parents=True, exist_ok=True)
    owners: dict[str, str] = {}
    for connection in connections:
        name = str(connection.name)
        for key in connection.secrets:
            variable = variable_name(name, key)
            if owners.setdefault(variable, name) != name:
                raise UserErrorException(
                    f"Connections '{owners[variable]}' and '{name}' would both read {variable}.", hint="rename one"
                )
        file = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.yaml"
        file.write_text(dump_connection(connection, secrets_from_env=True), encoding="utf-8")
    if not connections:
        (folder / ".gitkeep").touch()  # the Dockerfile copies the folder, and git keeps no empty one
    return list(owners)


def secrets_of(connections: list[Connection]) -> list[tuple[str, str]]:
    """``(what it is, its value)`` of every secret."""
    return [
        (f"'{key}' of connection '{connection.name}'", str(value))
        for connection in connections
        for key, value in connection.secrets.items()
        if value
    ]


def _in_variables(variables: Mapping[str, Any]) -> list[str]:
    return [match[1] for value in variables.values() if (match := _IN_VARIABLE.match(str(value)))]


def _in_code(definition: Any) -> list[str]:
    """Names in the sample arguments of a class, or in a prompty's model."""
    if definition.kind == "prompty":
        from promptflow.executor.prompty import Prompty  # the path to models, for this kind only

        configuration = Prompty.load(definition.file)._model.configuration
        name = configuration.get("connection") if isinstance(configuration, Mapping) else None
        return [name] if isinstance(name, str) else []
    names = []
    for key, value in {**_defaults(definition.init), **(definition.sample_init or {})}.items():
        port = definition.init.get(key)
        is_connection = port is not None and str(port.type).endswith("Connection")
        if isinstance(value, str) and is_connection:
            names.append(value)
        if isinstance(value, Mapping) and isinstance(value.get("connection"), str):
            names.append(value["connection"])
    return names


def _defaults(ports: Mapping[str, Any]) -> dict[str, Any]:
    return {name: port.default for name, port in ports.items() if port.has_default}
