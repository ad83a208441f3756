"""``${env:NAME}`` in a connection's values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from promptflow.connections.models import _Connection
from promptflow.exceptions import UserErrorException

_REFERENCE = re.compile(r"\$\{env:([^}]+)\}")


def has_references(value: Any) -> bool:
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def resolved(connection: _Connection, environ: Mapping[str, str] = os.environ) -> _Connection:
    """The connection itself, its references replaced. A variable that is not set is an error that names it."""
    for values in (connection.configs, connection.secrets):
        for key, value in values.items():
            if has_references(value):
                values[key] = _replace(value, connection.name, key, environ)
    return connection


def overridden(connection: _Connection, environ: Mapping[str, str] = os.environ) -> _Connection:
    """The connection itself, with values from variables such as ``MY_CONNECTION_API_KEY`` (as in containers)."""
    for values in (connection.configs, connection.secrets):
        for key in values:
            variable = variable_name(connection.name or "", key)
            if variable in environ:
                values[key] = environ[variable]
    return connection


def variable_name(connection: str, key: str) -> str:
    """The variable that stands for a value of a connection: ``open_ai`` and ``api_key`` -> ``OPEN_AI_API_KEY``."""
    return re.sub(r"[^A-Za-z0-9]", "_", f"{connection}_{key}").upper()


def _replace(text: str, name: str | None, key: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        variable = match[1].strip()
        if variable not in environ:
            raise UserErrorException(
                f"Environment variable {variable} is not found: '{key}' of connection '{name}' refers to it.",
                hint=f"set {variable}, or update the connection",
            )
        return environ[variable]

    return _REFERENCE.sub(value, text.strip())
