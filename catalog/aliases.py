"""Aliases: names such as `champion` that point to one version of an asset, and move."""

from __future__ import annotations

import re

from catalog.assets import LATEST, LOCK, Asset, Assets, check_version
from promptflow.exceptions import ValidationException
from promptflow.workspace.clock import now_text

_NUMBERED = re.compile(r"v?[0-9.]+", re.I)


class Aliases:
    """The aliases of the assets of one kind."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._store = assets.workspace.store

    def of(self, name: str) -> dict[str, str]:
        """Alias -> version, for one name."""
        query = "SELECT alias, version FROM asset_aliases WHERE kind = :kind AND name = :name ORDER BY alias"
        rows = self._store.select("asset_aliases", query, kind=self._assets.kind, name=name)
        return {row["alias"]: row["version"] for row in rows}

    def find(self, name: str, alias: str) -> Asset | None:
        """The version that an alias points to; ``latest`` is always the newest that is not archived."""
        if alias == LATEST:
            return self._assets.latest(name)
        version = self.of(name).get(alias)
        return None if version is None else self._assets.find(name, version)

    def set(self, asset: Asset, alias: str) -> None:
        """Point an alias to this version, and away from any other."""
        check_alias(alias)
        row = {"kind": asset.kind, "name": asset.name, "alias": alias, "version": asset.version, "updated": now_text()}
        with self._assets.workspace.db.write(lock=LOCK):
            self._assets.get(asset.name, asset.version)  # it may have been deleted a moment ago
            self._store.put("asset_aliases", row)

    def remove(self, name: str, alias: str) -> bool:
        """Forget an alias; False if there is none."""
        return bool(
            self._store.delete_where("asset_aliases", {"kind": self._assets.kind, "name": name, "alias": alias})
        )

    def forget(self, asset: Asset) -> None:
        """Forget all that point to a version."""
        where = {"kind": asset.kind, "name": asset.name, "version": asset.version}
        self._store.delete_where("asset_aliases", where)


def check_alias(alias: str) -> None:
    """ValidationException for what cannot be told from a version."""
    check_version(alias)
    if _NUMBERED.fullmatch(alias):
        raise ValidationException(f"{alias!r} is no alias: it looks like a version.", hint="such as champion")
