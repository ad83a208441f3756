"""Copies of code folders and of inline models, by content: what a deployment was made of stays as it was.

They are assets of a kind of their own, which no list shows, held like registered models by the deployments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from catalog.assets import LOCK, Asset, Assets
from catalog.contents import Contents, File
from catalog.uses import Uses
from promptflow.exceptions import ValidationException, WorkspaceError
from promptflow.storage.snapshot import kept_files
from promptflow.workspace import Workspace
from promptflow.workspace.blobs import Blob

KIND = "snapshot"
# So long an unused one stays: instances of the revision before may still read from it.
LEAVE_SECONDS = 3600.0
_VERSION = "1"
_ATTEMPTS = 5


class Snapshots:
    """The snapshots of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._contents = Contents(workspace)
        self._assets = Assets(workspace, KIND)
        self._uses = Uses(workspace)

    def keep_code(self, folder: Path) -> Asset:
        """A folder without what its .amlignore or .gitignore names."""
        return self._keep(folder, code=True)

    def keep(self, path: Path) -> Asset:
        """A file or a folder, whole."""
        return self._keep(path, code=False)

    def folder(self, asset: Asset) -> Path:
        """Its file or folder, laid out under its own name."""
        return self._contents.lay_out(asset)

    def let_go(self, assets: Iterable[str]) -> None:
        """Note that they may be unused from now on."""
        for id in assets:
            kind, name, version = id.split(":", 2) if id.count(":") == 2 else ("", "", "")
            found = self._assets.find(name, version) if kind == KIND else None
            if found is not None:
                self._assets.change(found)

    def prune(self, now: datetime | None = None) -> None:
        """Delete those that nothing has used for long."""
        present = now or datetime.now(UTC)
        for asset in [*self._assets.every()]:
            age = (present - datetime.fromisoformat(asset.updated)).total_seconds()
            if age > LEAVE_SECONDS:
                self._delete_unused(asset)

    def _keep(self, path: Path, *, code: bool) -> Asset:
        name = path.resolve().name or "code"
        for _ in range(_ATTEMPTS):
            blob = self._put_code(path) if code else self._contents.put(path)
            with self.workspace.db.write(lock=LOCK):
                if self._contents.claim(blob):
                    return self._note(blob, name)
        raise WorkspaceError(f"The files of {path} were deleted while they were being kept.", hint="try again")

    def _put_code(self, folder: Path) -> Blob:
        blobs, files = self.workspace.blobs, []
        for name in kept_files(folder):
            blob = blobs.put_file(folder / name)
            files.append(File(name, blob.digest, blob.size, bool((folder / name).stat().st_mode & 0o100)))
        if not files:
            raise ValidationException(f"The folder {folder} is empty.")
        return self._contents.put_files(files)

    def _note(self, blob: Blob, path: str) -> Asset:
        # One content under two names of its folder is two assets: the layout has the name in it.
        name = f"{blob.digest[:40]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        there = self._assets.find(name, _VERSION)
        if there is not None:
            return self._assets.change(there)
        return self._assets.add(Asset(KIND, name, _VERSION, KIND, blob.digest, blob.kind, blob.size, path))

    def _delete_unused(self, asset: Asset) -> None:
        with self.workspace.db.write(lock=LOCK):
            if self._uses.of(asset.id) or self._assets.find(asset.name, asset.version) is None:
                return
            self._uses.forget(asset.id)
            self._assets.remove(asset)
            blobs = self._contents.forget(asset.digest)
        self._contents.sweep(asset.digest, blobs)
