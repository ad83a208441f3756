"""How an executor was loaded, so that another process can load the same one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.connections.models import _Connection as Connection


@dataclass(frozen=True)
class Origin:
    """Arguments of `load_executor`, all of which can be pickled.

    ``found`` holds the connections that were looked up meanwhile, with their secrets: it is for pipes, not for files.
    ``merged`` is the folder of the flow with its additional includes, where it has any; ``home`` and ``database_url``
    are the workspace's.
    """

    source: str
    code: str | None = None
    variant: str | None = None
    connections: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] | None = None
    init: Mapping[str, Any] | None = None
    environment_variables: Mapping[str, Any] | None = None
    merged: str | None = None
    home: str | None = None
    database_url: str | None = field(default=None, repr=False)
    found: dict[str, Connection] = field(default_factory=dict, repr=False)


class Recorded:
    """A lookup of connections by name that keeps what it found."""

    def __init__(self, lookup: Callable[[str], Connection]) -> None:
        self.found: dict[str, Connection] = {}
        self._lookup = lookup

    def __call__(self, name: str) -> Connection:
        connection = self._lookup(name)
        if isinstance(name, str):
            self.found[name] = connection
        return connection


def source_of(source: Any) -> str | None:
    """What another process loads instead: a file's path, or ``module:name``; None where there is no such thing."""
    if isinstance(source, str | Path):
        path = Path(source)
        return str(path.resolve()) if path.exists() else str(source)
    module, name = getattr(source, "__module__", None), getattr(source, "__qualname__", None)
    if module in (None, "__main__") or name is None or not name.isidentifier():
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is source else None
