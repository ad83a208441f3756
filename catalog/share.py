"""Sharing a version with another workspace: the same bytes under the same digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.assets import Asset
from catalog.contents import FILE
from catalog.lineage import ORIGIN, Edge
from catalog.registry import KIND, Registry
from promptflow.exceptions import ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.blobs import Blobs

SETTING = "registries"


def share(asset: Asset, source: Registry, target: Registry, *, name: str = "", version: str = "") -> Asset:
    """Keep a version in another workspace, by its own name and version unless told otherwise.

    What is there already is not sent again. AssetExistsError if that version is there with other content.
    """
    if (
        target.workspace.home == source.workspace.home
        and target.workspace.database_url == source.workspace.database_url
    ):
        raise ValidationException("A model is shared with another workspace, not with its own.")
    origin = Edge("", ORIGIN, f"{source.workspace.home}#{asset.id}")
    parents = [edge for edge in source.lineage.sources(asset.id) if not edge.source.startswith(f"{KIND}:")]
    for blob in [asset.digest, *(file.digest for file in source.files(asset) if asset.form != FILE)]:
        send(blob, source.workspace.blobs, target.workspace.blobs)
    return target.keep(
        Asset(**{**vars(asset), "name": name or asset.name, "version": version or asset.version, "archived": False}),
        [origin, *parents],
    )


def send(digest: str, source: Blobs, target: Blobs) -> None:
    """Copy one blob, its bytes checked on the way."""
    if target.has(digest):
        return
    file = source.local_file(digest)
    found = target.put_file(file) if file is not None else target.put(source.get(digest))
    if found.digest != digest:
        raise WorkspaceError(f"Blob {digest} in {source.place} is damaged.", hint="register the model again")


def find_registry(word: str, workspace: Workspace) -> Workspace:
    """The workspace that is called ``word`` in the settings (``registries.NAME``), or that lies in that folder.

    A setting is a folder, or ``{home: FOLDER, database: URL}`` for a workspace with a database of its own.
    """
    home = workspace.settings.get(f"{SETTING}.{word}.home") or workspace.settings.get(f"{SETTING}.{word}")
    database: Any = workspace.settings.get(f"{SETTING}.{word}.database", "")
    if home:
        return Workspace.open(str(home), str(database))
    if Path(word).expanduser().is_dir():
        return Workspace.open(word, "")
    if "/" in word:
        raise ValidationException(f"There is no folder {word}.", hint="make it: an empty one becomes a workspace")
    raise ValidationException(
        f"There is no registry called {word}.", hint=f"pf config set {SETTING}.{word}=FOLDER, or give the folder itself"
    )
