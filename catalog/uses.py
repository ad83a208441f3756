"""Uses: who needs an asset now, such as an endpoint. What is used is not deleted."""

from __future__ import annotations

from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text


class Uses:
    """Who uses which assets. Both are ids: ``model:NAME:VERSION``, ``endpoint:NAME/DEPLOYMENT``."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store

    def add(self, asset: str, used_by: str) -> None:
        """Hold an asset. Call it in the transaction that creates the user, under the lock of assets."""
        self._store.put("uses", {"asset": asset, "used_by": used_by, "created": now_text()})

    def end(self, used_by: str, asset: str = "") -> int:
        """Let go of an asset, or of all; how many they were."""
        where = {"used_by": used_by, "asset": asset} if asset else {"used_by": used_by}
        return self._store.delete_where("uses", where)

    def of(self, asset: str) -> list[str]:
        """Who uses it."""
        rows = self._store.select("uses", "SELECT used_by FROM uses WHERE asset = :asset ORDER BY used_by", asset=asset)
        return [row["used_by"] for row in rows]
