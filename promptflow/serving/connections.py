"""Where a served flow finds its connections: a folder of YAML files, the environment, the workspace."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptflow.connections.provider import from_dict, get_connection
from promptflow.connections.references import overridden, resolved
from promptflow.connections.yamlform import load_connection
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace


def provider(workspace: Workspace, folder: str = "", environ: Mapping[str, str] = os.environ) -> Callable[[str], Any]:
    """``name -> connection``, ready to use.

    A variable that is called as the connection gives another name, or the connection itself as JSON; variables such
    as ``MY_CONNECTION_API_KEY`` replace single values of it.
    """
    files = _connection_files(Path(folder)) if folder else {}

    def find(name: str) -> Any:
        if not isinstance(name, str):
            return get_connection(name, workspace, environ)
        stand_in = environ.get(name.replace(" ", "_"), "").strip()
        if stand_in.startswith("{"):
            return _of_json(name, stand_in, environ)
        name = stand_in or name
        if name in files:
            return resolved(overridden(load_connection(files[name]), environ), environ)
        return overridden(get_connection(name, workspace, environ), environ)

    return find


def _connection_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserErrorException(f"There is no folder of connections at {folder}.")
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    return {str(load_connection(file).name): file for file in files}


def _of_json(name: str, text: str, environ: Mapping[str, str]) -> Any:
    """Never shows the text: keys are in there."""
    try:
        return from_dict(json.loads(text), name, environ)
    except ValueError as error:
        raise UserErrorException(
            f"The environment variable {name} should hold connection '{name}' as JSON, but is not JSON: {error}.",
            location=f"environment: {name}",
        ) from None
