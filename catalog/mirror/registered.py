"""What is registered in the workspace, as ``workspace/NAME``.

``main`` is the newest version; versions are tags, aliases are branches. Models under ``models``, data under
``datasets``.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path

from catalog.aliases import Aliases
from catalog.assets import Asset, AssetNotFoundError, Assets
from catalog.contents import File
from catalog.mirror.entries import Entry, blob_oid, entry_of
from catalog.mirror.errors import RepoNotFoundError, RevisionNotFoundError
from catalog.mirror.repo import DATASETS, MAIN, MODELS, Commit, Refs, Repo
from catalog.registry import Registry
from promptflow.workspace import Workspace

OWNER = "workspace"
KINDS = {MODELS: "model", DATASETS: "data"}
_SHA = 40  # digits


class Registered:
    """A source of registered models and data sets."""

    def __init__(self, workspace: Workspace) -> None:
        self.registry = Registry(workspace)
        self.assets = {kind: Assets(workspace, asset) for kind, asset in KINDS.items()}
        self._oid = functools.lru_cache(100_000)(lambda digest: blob_oid(workspace.blobs.get(digest)))

    def find(self, kind: str, id: str, revision: str) -> Repo:
        asset = self.asset(kind, id, revision)
        entries = {file.path: self._entry(asset, file) for file in self.registry.files(asset)}
        labels = tuple(key if value in ("", "true") else f"{key}:{value}" for key, value in asset.tags.items())
        card = str(asset.details.get("card") or asset.description or "")
        return Repo(kind, f"{OWNER}/{asset.name}", _commit(asset), entries, labels, card)

    def refs(self, kind: str, id: str) -> Refs:
        newest = self._newest(kind, id)
        tags = {one.version: commit_sha(one) for one in self.versions(kind, newest.name)}
        aliases = Aliases(self.assets[kind]).of(newest.name)
        branches = {alias: tags[version] for alias, version in aliases.items() if version in tags}
        return Refs({**branches, MAIN: commit_sha(newest)}, tags)

    def heads(self, kind: str) -> Mapping[str, Hashable]:
        assets = self.assets[kind].every()
        return {f"{OWNER}/{asset.name}": (asset.version, asset.digest, asset.updated) for asset in assets}

    def commits(self, kind: str, id: str, revision: str) -> list[Commit]:
        first = self.asset(kind, id, revision)
        return [_commit(one) for one in self.versions(kind, first.name) if one.number <= first.number]

    def asset(self, kind: str, id: str, revision: str) -> Asset:
        """The version that a revision names: ``main``, a commit, a version or an alias."""
        newest = self._newest(kind, id)
        if revision in (MAIN, "HEAD"):
            return newest
        if len(revision) == _SHA:
            found = [one for one in self.versions(kind, newest.name) if commit_sha(one) == revision]
        else:
            assets = self.assets[kind]
            found = [one for one in (assets.find(newest.name, revision), self._by_alias(kind, newest, revision)) if one]
        if not found:
            raise RevisionNotFoundError(id, revision)
        return found[0]

    def versions(self, kind: str, name: str) -> list[Asset]:
        """Newest first; archived ones are still there for those who name them."""
        return [*self.assets[kind].every(name, archived=None)]

    def _by_alias(self, kind: str, newest: Asset, alias: str) -> Asset | None:
        return Aliases(self.assets[kind]).find(newest.name, alias)

    def _newest(self, kind: str, id: str) -> Asset:
        owner, _, name = id.rpartition("/")
        if kind not in KINDS or owner not in (OWNER, ""):
            raise RepoNotFoundError(id)
        try:
            return self.assets[kind].latest(name)
        except AssetNotFoundError as error:
            raise RepoNotFoundError(id) from error

    def _entry(self, asset: Asset, file: File) -> Entry:
        place = functools.partial(self._place, asset, file)
        oid = functools.partial(self._oid, file.digest)
        return entry_of(file.path, file.size, place, sha256=lambda: file.digest, oid=oid)

    def _place(self, asset: Asset, file: File) -> Path:
        blob = self.registry.workspace.blobs.local_file(file.digest)
        if blob is not None:
            return blob
        folder = self.registry.folder(asset)  # blobs are elsewhere: a copy on this disk
        return folder if folder.is_file() else folder / file.path


def commit_sha(asset: Asset) -> str:
    """The commit that a version is: 40 digits that are the same wherever this content has this name and version."""
    named = f"{asset.kind}\n{asset.name}\n{asset.version}\n{asset.digest}"
    return hashlib.sha256(named.encode()).hexdigest()[:_SHA]


def _commit(asset: Asset) -> Commit:
    title = asset.description or f"Version {asset.version}"
    author = str(asset.details.get("created_by") or "")
    return Commit(commit_sha(asset), title.splitlines()[0][:200], asset.created, author, f"Version {asset.version}")
