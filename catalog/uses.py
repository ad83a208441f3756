"""Uses: who needs an asset now, such as an endpoint. What is used is not deleted.

An endpoint ends its uses itself. A process may be killed: its uses count while it lives, which others on its machine
see at once, and others elsewhere by when it renewed them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.assets import LOCK, Assets
from promptflow.workspace import Workspace, pids
from promptflow.workspace.clock import now_text

RENEW_SECONDS = 60.0  # so often a process renews its uses
STALE_SECONDS = 600.0  # so old a use of a process on another machine no longer counts
_PROCESS = "process:"
_HUB = "hub:"


class Uses:
    """Who uses which assets. Both are ids: ``model:NAME:VERSION`` or ``hub:ORG/NAME``; ``endpoint:NAME/DEPLOYMENT``, or
    what `this_process` says."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._store = workspace.store

    def add(self, asset: str, used_by: str) -> None:
        """Hold an asset. Call it in the transaction that creates the user, under the lock of assets."""
        self._store.put("uses", {"asset": asset, "used_by": used_by, "created": now_text()})

    def hold(self, assets: Iterable[str], used_by: str) -> None:
        """Hold assets that are there, and hold them on where they are held; AssetNotFoundError if one is not."""
        with self._workspace.db.write(lock=LOCK):
            wanted = sorted({*assets})
            for kind, name, version in (asset.split(":") for asset in wanted if not asset.startswith(_HUB)):
                Assets(self._workspace, kind).get(name, version)
            rows = [{"asset": asset, "used_by": used_by, "created": now_text()} for asset in wanted]
            self._store.put_many("uses", rows, keep=())

    def end(self, used_by: str, asset: str = "") -> int:
        """Let go of an asset, or of all; how many they were."""
        where = {"used_by": used_by, "asset": asset} if asset else {"used_by": used_by}
        return self._store.delete_where("uses", where)

    def of(self, asset: str) -> list[str]:
        """Who uses it."""
        query = "SELECT used_by, created FROM uses WHERE asset = :asset ORDER BY used_by"
        return [row["used_by"] for row in self._store.select("uses", query, asset=asset) if _counts(row)]

    def forget(self, asset: str) -> None:
        """Drop what is noted of an asset that is deleted: uses that no longer count."""
        self._store.delete_where("uses", {"asset": asset})


def this_process() -> str:
    """This process as a user of assets."""
    return f"{_PROCESS}{os.getpid()}@{pids.identity(os.getpid())}"


def told(used_by: str) -> str:
    """A user as people are told of it."""
    if not used_by.startswith(_PROCESS):
        return used_by
    pid, identity = _parts(used_by)
    here = identity.startswith(f"{pids.place()}/")
    return f"process {pid}" if here else f"process {pid} on {identity.partition('/')[0]}"


def _counts(use: Mapping[str, Any]) -> bool:
    if not use["used_by"].startswith(_PROCESS):
        return True
    pid, identity = _parts(use["used_by"])
    if identity.startswith(f"{pids.place()}/"):
        return pids.is_running(pid, identity)
    age = datetime.now(UTC) - datetime.fromisoformat(use["created"])
    return age.total_seconds() < STALE_SECONDS


def _parts(used_by: str) -> tuple[int, str]:
    pid, _, identity = used_by.removeprefix(_PROCESS).partition("@")
    return int(pid), identity
