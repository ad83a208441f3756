"""Commits as versions: what is uploaded to ``workspace/NAME`` is registered."""

from __future__ import annotations

import json
from typing import Any

import yaml

from catalog.aliases import Aliases, check_alias
from catalog.assets import LOCK, Asset, AssetNotFoundError, check_name
from catalog.contents import File
from catalog.flavors import ADAPTER, MLMODEL
from catalog.lineage import PARENT, Edge
from catalog.mirror.changes import changed
from catalog.mirror.errors import MirrorError, RepoNotFoundError, RevisionNotFoundError
from catalog.mirror.registered import KINDS, OWNER, Registered, commit_sha
from catalog.mirror.repo import MAIN, MODELS
from catalog.mirror.uploads import Draft
from catalog.references import is_hub_id
from promptflow.exceptions import UserErrorException, ValidationException

_MOST_READ = 1 << 20  # bytes of a file that says what a model is


class Versions:
    """Makes versions and aliases of what clients call commits, branches and tags."""

    def __init__(self, registered: Registered) -> None:
        self.registered = registered
        self.registry = registered.registry
        self.workspace = registered.registry.workspace

    def name(self, kind: str, id: str) -> str:
        """The name in the workspace of a repo that may be written to."""
        owner, _, name = id.rpartition("/")
        if kind not in KINDS or owner not in (OWNER, ""):
            raise MirrorError(403, f"What is uploaded here is registered: name it {OWNER}/{name}, not {id}.")
        check_name(name)
        return name

    def find(self, kind: str, id: str, revision: str) -> Asset | None:
        """The version at a revision, None if there is none yet."""
        try:
            return self.registered.asset(kind, id, revision)
        except (RepoNotFoundError, RevisionNotFoundError):
            return None

    def commit(self, kind: str, id: str, revision: str, draft: Draft, author: str) -> Asset:
        """The next version: the files of the one at ``revision`` with the changes. On ``main`` it gets the next number;
        another revision is an alias that moves to it, or, where it looks like a version, the new version's name."""
        name = self.name(kind, id)
        alias, version = _target(revision)
        with self.workspace.db.write(lock=LOCK):
            if version and self.registered.assets[kind].find(name, version) is not None:
                raise MirrorError(409, f"{id} has a version {version}, and versions never change: upload to main.")
            base = self.find(kind, id, alias or MAIN) or self.find(kind, id, MAIN)
            if draft.header.parent and (base is None or commit_sha(base) != draft.header.parent):
                raise MirrorError(412, f"{id} has changed: {draft.header.parent} is not its last commit any more.")
            before = {file.path: file for file in self.registry.files(base)} if base is not None else {}
            files = changed(before, draft.put, draft.deleted)
            if not files:
                raise MirrorError(400, "A version holds at least one file.")
            if base is not None and files == before and not version:
                kept = base
            else:
                kept = self._keep(kind, name, version, files, draft, author)
            if alias:
                Aliases(self.registered.assets[kind]).set(kept, alias)
        draft.uploads.done(draft.large)
        return kept

    def point(self, kind: str, id: str, alias: str, revision: str) -> None:
        """A new branch or tag is an alias of the version at a revision."""
        self.name(kind, id)
        check_alias(alias)
        with self.workspace.db.write(lock=LOCK):
            asset = self.registered.asset(kind, id, revision)
            aliases = Aliases(self.registered.assets[kind])
            if alias in aliases.of(asset.name):
                raise MirrorError(409, f"{id} has {alias} already.")
            aliases.set(asset, alias)

    def forget(self, kind: str, id: str, alias: str) -> None:
        """Delete a branch or tag."""
        if not Aliases(self.registered.assets[kind]).remove(self.name(kind, id), alias):
            raise RevisionNotFoundError(id, alias)

    def _keep(self, kind: str, name: str, version: str, files: dict[str, File], draft: Draft, author: str) -> Asset:
        blob = self.registry.contents.put_files(files.values())
        header = draft.header
        fields: dict[str, Any] = {
            "version": version,
            "path": name,
            "digest": blob.digest,
            "form": blob.kind,
            "size": blob.size,
            "description": "\n\n".join(text for text in (header.summary, header.description) if text) or None,
            "details": {"source": "upload", "created_by": author},
        }
        if kind == MODELS:
            flavors = self._flavors(files)
            fields["details"] |= {"flavors": flavors} if flavors else {}
            asset = Asset("model", name, type="mlflow_model" if flavors else "custom_model", **fields)
            return self.registry.keep(asset, self._parents(files))
        if not self.registry.contents.claim(blob):
            raise MirrorError(409, "A file of this commit was deleted meanwhile: upload it again.")
        return self.registered.assets[kind].add(Asset(KINDS[kind], name, type="uri_folder", **fields))

    def _flavors(self, files: dict[str, File]) -> dict[str, Any]:
        try:
            data = yaml.safe_load(self._text(files, MLMODEL))
        except yaml.YAMLError:
            return {}
        found = data.get("flavors") if isinstance(data, dict) else None
        return dict(found) if isinstance(found, dict) else {}

    def _parents(self, files: dict[str, File]) -> list[Edge]:
        """The model that an adapter says it belongs to."""
        try:
            base = str(json.loads(self._text(files, ADAPTER) or "{}").get("base_model_name_or_path") or "")
        except (ValueError, AttributeError):
            return []
        try:
            return [Edge("", PARENT, self.registry.get(base).id)] if base else []
        except (AssetNotFoundError, ValidationException):
            return [Edge("", PARENT, f"hub:{base}")] if is_hub_id(base) else []

    def _text(self, files: dict[str, File], path: str) -> str:
        file = files.get(path)
        if file is None or file.size > _MOST_READ:
            return ""
        return self.workspace.blobs.get(file.digest).decode("utf-8", "replace")


def _target(revision: str) -> tuple[str, str]:
    """The alias that a commit moves, or the version that it makes; neither on ``main``."""
    if revision == MAIN:
        return "", ""
    try:
        check_alias(revision)
    except UserErrorException:
        return "", revision
    return revision, ""
