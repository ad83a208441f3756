"""`client.cache`: the results of nodes that the workspace keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.executor.caching import cache_file, max_size
from promptflow.storage import cachefile
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import parse_size


class CacheOperations:
    """Looking at the node cache, and making it smaller. All raise WorkspaceError where it is damaged, but `clear`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._file = cache_file(workspace)

    def stats(self) -> dict[str, Any]:
        """``entries``, ``nodes`` that they are of, ``bytes`` in use, ``max_size`` in bytes, and the ``file``."""
        return {**cachefile.stats(self._file), "max_size": max_size(self._workspace), "file": str(self._file)}

    def list(self, node: str | None = None, max_results: int | None = 50) -> list[dict[str, Any]]:
        """Entries, those used last first: ``key``, ``node``, ``run``, ``line``, ``made``, ``used``, ``size``."""
        entries = cachefile.newest(self._file, max_results, node)
        return [{**entry, **{name: _time(entry[name]) for name in ("made", "used")}} for entry in entries]

    def clear(self) -> None:
        """Remove everything."""
        cachefile.clear(self._file)

    def prune(self, max_size: int | str) -> int:
        """Remove what was not used for longest until the file takes ``max_size`` (bytes, 500MB); how many entries."""
        size = parse_size(max_size)
        if size is None:
            raise ValidationException(f"{max_size!r} is no size.", hint="write 500MB or 2GB")
        return cachefile.prune(self._file, size)


def _time(milliseconds: Any) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
