"""Environment variables of a deployment that are kept elsewhere: ``${connection.key}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from promptflow.connections.provider import get_connection
from promptflow.exceptions import ConnectionNotFoundError
from promptflow.workspace import Workspace

_REFERENCE = re.compile(r"\$\{(?P<connection>[^.:{}]+)\.(?P<key>[^.:{}]+)\}")


def plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that stand for themselves."""
    return {name: value for name, value in variables.items() if not _REFERENCE.fullmatch(value)}


def referring(variables: Mapping[str, str]) -> dict[str, str]:
    """The others, which read ``${connection.key}``."""
    return {name: value for name, value in variables.items() if _REFERENCE.fullmatch(value)}


def looked_up(variables: Mapping[str, str], workspace: Workspace) -> dict[str, str]:
    """The others, with what the connections of the workspace say. ConnectionNotFoundError."""
    found = {name: _REFERENCE.fullmatch(value) for name, value in variables.items()}
    return {name: _value(name, match, workspace) for name, match in found.items() if match is not None}


def _value(variable: str, reference: re.Match[str], workspace: Workspace) -> str:
    connection = get_connection(reference["connection"], workspace)
    try:
        return str(getattr(connection, reference["key"]))
    except (AttributeError, KeyError):
        raise ConnectionNotFoundError(
            f"The environment variable {variable} reads {reference[0]}, but the connection "
            f"{reference['connection']} has no {reference['key']}."
        ) from None
